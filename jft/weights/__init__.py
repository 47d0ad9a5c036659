"""Weights: find, download, read, convert and write them."""
