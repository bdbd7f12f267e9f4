"""What the signer does, one module a subject. Each service turns a request into a command for the queue."""
