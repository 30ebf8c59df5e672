"""wsseg: 3D medical image segmentation from sparse annotation, on several modalities at once."""

__version__ = "0.1.0"
