"""Validation from a few hundred points instead of dense masks: which points are asked, and what the answers say."""
