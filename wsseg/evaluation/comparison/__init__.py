"""Runs beside each other: what one learned more than another, case by case, and how sure that is."""
