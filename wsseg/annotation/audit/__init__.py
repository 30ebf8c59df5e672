"""Estimate Dice from a few hundred points labelled by a person: sampling, point files, estimate."""
