"""The agent's services: the Workload API, our own beside it, and the admin's."""
