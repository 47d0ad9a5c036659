"""Checkpoint files in: finding, reading, naming and loading weights."""
