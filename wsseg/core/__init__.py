"""Types and helpers that all packages use: cases, contracts, errors, files and reporters."""
