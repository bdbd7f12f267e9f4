"""Verbs for servers of others, which read files: written, reloaded, checked."""
