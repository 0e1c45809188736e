"""Text on the host: queries to token ids, and their features to what a stage is given."""
