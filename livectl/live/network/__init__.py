"""The network: the one place that opens HTTP connections, and what may be reached."""
