"""Data sets: what is known of them, their cases, their lists, their batches."""
