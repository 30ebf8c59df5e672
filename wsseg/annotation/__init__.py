"""Strokes: how they are simulated, resampled and checked."""
