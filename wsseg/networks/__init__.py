"""One file = one `use:` of a recipe."""
