"""Several processes as one: start, sums over processes, failure of a process."""
