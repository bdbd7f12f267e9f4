"""The store of a CA: the interface that the services use, and what keeps the rows behind it."""
