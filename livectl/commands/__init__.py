"""One file a command: words in, one call, the value to render. No file here imports another."""
