"""Helpers that know nothing of segmentation."""
