"""The vocabulary of selectors: what each says, what it proves, and what may be demanded. Pure."""
