"""The processes of one machine, their users and their directory."""
