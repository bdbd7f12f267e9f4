"""Verbs about a process's own identity."""
