"""One process, pinned: descriptors that stay with it, and what /proc says of it. Linux only."""
