"""HTTP for small read-only services. Needs an extra."""
