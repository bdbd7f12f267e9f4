"""One enrolled identity, under the agent and under a daemon without one: enrolling, renewing, state."""
