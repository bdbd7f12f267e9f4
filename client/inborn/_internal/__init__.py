"""What stands behind the names of `inborn`. Agent, CA and command use it too; programs do not."""
