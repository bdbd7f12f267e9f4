"""The socket that everybody may connect to, and who each connection is."""
