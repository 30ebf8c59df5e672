"""Comparison of runs: paired differences case by case, with intervals and tests, and the report."""
