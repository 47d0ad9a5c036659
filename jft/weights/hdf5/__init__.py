"""A strict reader of HDF5 files."""
