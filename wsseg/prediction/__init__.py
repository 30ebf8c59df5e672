"""Prediction in overlapping sliding windows, and label maps on the grid of each input."""
