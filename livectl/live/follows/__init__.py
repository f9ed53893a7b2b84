"""Knows who is followed: reads, edits, imports, exports and applies the follow list."""
