"""What the notebooks use: settings, half-trained networks, pictures and checkers."""
