"""The files of a run against their digests, and python -m jft.verify."""
