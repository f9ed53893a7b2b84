"""Carries messages on Redis so that none is only in the memory of a worker."""
