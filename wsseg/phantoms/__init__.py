"""The embedded example datasets."""
