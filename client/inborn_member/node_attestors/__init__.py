"""With what a machine or daemon proves itself when it enrolls: one folder for each kind of evidence."""
