"""What the agent keeps across its own restart: its identity, the CA's word, and SVIDs in memory-backed directories."""
