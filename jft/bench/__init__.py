"""How fast training steps are: `python -m jft.bench`."""
