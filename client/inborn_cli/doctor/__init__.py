"""`inborn doctor`: whether this host can keep what Inborn promises."""
