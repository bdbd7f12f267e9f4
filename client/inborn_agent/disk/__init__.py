"""What the agent keeps across its own restart: the CA's word, and SVIDs in memory-backed directories."""
