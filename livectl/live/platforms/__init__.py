"""One file a platform; no I/O in any of them."""
