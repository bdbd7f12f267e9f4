"""Whether a peer may be talked to now: the one function in which every TLS stack ends. Pure."""
