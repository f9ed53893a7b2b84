"""Sends jobs, finds out how they are, shows them, and sends them again or revokes them."""
