"""Alerts targets to changes: to which, in which words, and once."""
