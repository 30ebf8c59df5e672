"""The engine: one trainer for all recipes."""
