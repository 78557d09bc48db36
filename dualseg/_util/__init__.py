"""What every room uses, and what knows of none of them: files, memory, signals, tables."""
