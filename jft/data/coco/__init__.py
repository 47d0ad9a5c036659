"""COCO annotation files, as masks."""
