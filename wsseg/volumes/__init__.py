"""Volumes on grids: NIfTI files, and resampling of images, probabilities and label maps."""
