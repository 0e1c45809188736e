"""The results of a training run for people: a page with scores, curves and the worst cases."""
