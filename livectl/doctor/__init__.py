"""The doctor: what is, gathered once and in time, and what of it is wrong, each with its evidence and its cure."""
