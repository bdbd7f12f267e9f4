"""The agent's side of the CA: its own identity, the stream, what it asks for and reports."""
