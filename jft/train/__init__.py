"""Training: `python -m jft.train` and `jft.fit`."""
