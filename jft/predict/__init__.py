"""Predictions: `python -m jft.predict` and `jft.Predictor`."""
