"""Seeded reference models in torch, and comparisons of gsam with them, part by part.

For tests and for `benchmarks.parity`.
"""
