"""Helpers of all other folders, which know of none of them: files, memory, signals, tables."""
