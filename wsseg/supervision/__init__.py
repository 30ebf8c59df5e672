"""One file = one line of a recipe's `supervision`."""
