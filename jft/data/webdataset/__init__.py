"""Tar files of examples (webdataset)."""
