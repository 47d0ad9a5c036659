"""Keras weight files, read and written without Keras."""
