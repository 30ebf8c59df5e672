"""A dataset folder -> Batch."""
