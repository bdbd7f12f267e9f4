"""What the agent knows and holds, and what follows from each thing that happens. Pure."""
