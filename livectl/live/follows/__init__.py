"""The follow list: read, changed, brought in, given out, kept in force."""
