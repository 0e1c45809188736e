"""What every benchmark shares: seeded models and inputs, workers, timing in turns, and reports."""
