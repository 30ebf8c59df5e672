"""Terms of the loss: each file is one line of a recipe's `supervision`. Files that begin with `_` are shared."""
