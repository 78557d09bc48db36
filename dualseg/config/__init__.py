"""What a run is: its sizes and schedule, and the whole experiment."""
