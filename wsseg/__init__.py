"""wsseg: 3D medical image segmentation from sparse annotation, on several modalities at once."""

import os

# MLflow reads this when it is imported, which monai does by itself: wsseg reports nothing to anybody.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

__version__ = "0.1.0"
