"""Settings: each declared once, and handed to a process that is started as one document, over a descriptor."""
