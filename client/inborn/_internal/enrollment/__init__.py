"""What both sides of an enrollment agree on. Pure."""
