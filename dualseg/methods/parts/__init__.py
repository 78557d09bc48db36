"""What several methods share, one idea a module; each method's own part is in its own file."""
