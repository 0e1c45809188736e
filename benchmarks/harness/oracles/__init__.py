"""Seeded reference models in torch, and gsam compared with them part by part: for tests and `benchmarks.parity`."""
