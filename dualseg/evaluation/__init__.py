"""Evaluation: from a trained run to masks, measurements and files."""
