"""Runs worker, beat, page and broker as services: in the foreground, in the background, and probed."""
