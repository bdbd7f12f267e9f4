"""The agent's side of the CA: what is an agent's about its own identity, the feeds, what it asks for and reports."""
