"""The screen of `livectl top`: where it reads, what its panels show, and the commands behind its keys."""
