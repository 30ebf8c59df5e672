"""wsseg: 3D medical image segmentation from sparse annotation, on several modalities at once."""

import os

# MLflow reads this when it is imported, which monai does by itself: wsseg reports nothing to anybody.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# OpenMP's threads wait for each other by spinning. Where another process wants the same cores, they spin their time
# slices away and an iteration takes twenty times as long; after so few rounds they sleep instead, at no cost otherwise.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
