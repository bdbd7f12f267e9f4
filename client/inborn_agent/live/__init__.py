"""The cache in an event loop: who calls, who is told, which timers fire, what happens when a workload is lost."""
