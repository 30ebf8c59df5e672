"""Find faults of a dataset before training: measure every case, then run the rules in `rules/`."""
