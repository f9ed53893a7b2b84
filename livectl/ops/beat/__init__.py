"""What the beat scheduler is made of: its clock, its entries, and the claims of runs in the store."""
