"""Runs over many inputs: which there are, in what order, what happens when one fails, and where results go."""
