"""What processes of ours say to each other: methods, who may call them, messages, frames, proofs. No IO, no gRPC."""
