"""The run's record: JSON lines in its directory, repeated in MLflow."""
