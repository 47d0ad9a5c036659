"""Metrics over a data source: `python -m jft.evaluate`."""
