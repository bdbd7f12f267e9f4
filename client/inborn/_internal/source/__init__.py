"""Where a process has its identity from: snapshots, the live source, when to renew."""
