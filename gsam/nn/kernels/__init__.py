"""Pallas kernels for what XLA has no good form of; imported only where one may be used."""
