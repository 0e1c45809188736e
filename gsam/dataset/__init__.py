"""Runs over many inputs: which there are, what happens when one fails, and where results go."""
