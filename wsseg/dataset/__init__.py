"""The dataset folder in nnU-Net v2's layout, and what its files declare."""
