"""From trained networks to masks and scores."""
