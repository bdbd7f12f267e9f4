"""The process that holds the keys, decides, records and signs. No network, no gRPC."""
