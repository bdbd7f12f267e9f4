"""Whose evidence lets a node in: one folder for each kind, behind one protocol."""
