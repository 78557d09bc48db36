"""For those who write notebooks: run, record, check, student copies."""
