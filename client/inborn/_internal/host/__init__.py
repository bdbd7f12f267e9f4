"""What this machine offers: paths, files that are whole or absent, log lines, private directories."""
