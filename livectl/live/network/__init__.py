"""Sends requests to sites: which hosts may be reached, how, and many at once."""
