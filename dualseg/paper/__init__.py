"""The paper: its tables, its equations explained, its released program re-created."""
