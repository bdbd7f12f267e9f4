"""Whose proof the signer believes, and how each proof is checked."""
