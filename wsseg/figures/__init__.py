"""Figures of volumes: three planes with annotation, prediction and reference."""
