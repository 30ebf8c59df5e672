"""Sliding window -> label maps on each input's own grid."""
