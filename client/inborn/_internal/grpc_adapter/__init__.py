"""gRPC over the library: channels, server credentials, interceptors."""
