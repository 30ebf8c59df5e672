"""Kinds of annotation: one file, one `kind:` of a protocol; a file that begins with `_` is shared by several."""
