"""Numbers for Prometheus, of the agent and of the front. What counts knows `counting` alone. prometheus_client and the
HTTP server are loaded where a port for metrics is on, and come with the extras `agent` and `ca`."""
