"""The front's gRPC services: who calls, whether there is room, and what goes on to the signer."""
