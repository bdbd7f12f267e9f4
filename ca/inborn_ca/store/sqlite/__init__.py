"""The store of a CA on one machine: one SQLite file behind the interface."""
