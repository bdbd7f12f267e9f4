"""Which version this is. Asking the package's metadata for it would cost 10 ms and 2 MiB."""

VERSION = "0.1.0"
