"""One file = one `fusion:` of a recipe."""
