"""What keeps jobs from running at once, too often, or twice: limits of `tasks:`, counted in the store."""
