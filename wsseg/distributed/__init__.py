"""Training in several processes: start, sums over processes, failure of a process."""
