"""What a training leaves behind: its folder, checkpoints, records and status."""
