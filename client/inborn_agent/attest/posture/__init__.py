"""How a process is locked in, by the kernel's word on each of its threads."""
