"""How processes of ours ask each other: over gRPC, and over the signer's UNIX socket."""
