"""The kind join_token: a key that an admin hands out, for one agent or daemon, or for some."""
