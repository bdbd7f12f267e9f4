"""The CA's feeds as they arrive: verified, ordered, read. Pure."""
