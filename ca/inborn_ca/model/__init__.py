"""What the CA speaks of, as values: rows, entries, posture policies, names. Pure."""
