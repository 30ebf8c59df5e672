"""Arrays on grids: NIfTI files and resampling."""
