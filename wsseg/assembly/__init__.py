"""From a recipe and its dataset to the objects that commands use."""
