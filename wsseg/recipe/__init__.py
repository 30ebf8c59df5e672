"""The recipe: its schema, its checks, reading it, and the plug-ins it names."""
