"""One trainer for all recipes: networks, terms, optimiser, checkpoints."""
