"""The unit that the system manager put a process in, read from its control group."""
