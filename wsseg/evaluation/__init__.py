"""Predictions x references -> scores and pictures."""
