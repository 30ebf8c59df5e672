"""Annotation protocols: one file for each `kind:`. Files that begin with `_` are shared by several protocols."""
