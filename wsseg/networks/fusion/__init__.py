"""Fusion blocks: each file is one `fusion:` of a recipe."""
