"""Prepared TensorFlow datasets, read without TensorFlow."""
