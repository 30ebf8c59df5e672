"""Sparse annotation: simulation, measurement, exchange with other tools, and audits."""
