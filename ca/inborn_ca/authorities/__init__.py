"""Roots and issuing authorities: their lives, their keys, their CRLs."""
