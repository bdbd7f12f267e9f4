"""The container that a process lives in, by the word of its engine (Docker, Podman), held against the kernel's."""
