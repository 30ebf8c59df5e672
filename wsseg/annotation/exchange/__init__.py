"""Annotation of other tools: read onto a dataset's grids, written for them, and what became of every voxel."""
