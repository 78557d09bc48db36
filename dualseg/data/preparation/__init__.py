"""From raw files to a checked folder."""
