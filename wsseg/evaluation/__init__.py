"""Scores (Dice, hd95, assd, nsd, volumes) and comparisons of runs."""
