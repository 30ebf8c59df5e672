"""Networks: each file is one `use:` of a recipe. Files that begin with `_` are shared."""
