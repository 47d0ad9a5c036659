"""A run again, from its folder alone, and python -m jft.reproduce."""
