"""Jobs: sent one by one or many at once, looked for, told, repeated, revoked."""
