"""One enrolled identity, under the agent and under a daemon without one: getting in, renewing, what is kept on disk,
and following the CA's feed. Agent and daemon add where evidence comes from and what the feed's changes are applied to.
"""
