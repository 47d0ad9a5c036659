"""Images and labels in: decoding, sources and batches."""
