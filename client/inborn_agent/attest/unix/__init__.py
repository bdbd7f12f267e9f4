"""Users, groups and executable of a process, by the kernel's word."""
