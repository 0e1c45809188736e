"""Distillation: a small image encoder learns what a large one sees, from images without labels."""
