"""Frames between signer and front, and between signer and local admins."""
