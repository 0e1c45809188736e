"""Models in torch of our own, faithful to the originals, where transformers has none."""
