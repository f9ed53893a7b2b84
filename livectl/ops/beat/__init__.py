"""What the beat scheduler is made of: entries, due times, and the claims of runs in the store."""
