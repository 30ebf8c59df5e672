"""Many runs at once: on this machine, on a Ray cluster, under SLURM. Who runs where is those engines' business."""
