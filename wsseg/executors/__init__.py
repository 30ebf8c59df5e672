"""Many runs at once: on this machine, on a Ray cluster, or under SLURM."""
