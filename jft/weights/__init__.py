"""Weights in and out: found, downloaded, read, named, placed, written."""
