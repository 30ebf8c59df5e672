"""What every package stands on: cases, contracts, errors, files, and how the user is spoken to."""
