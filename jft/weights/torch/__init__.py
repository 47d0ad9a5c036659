"""Checkpoints of torch.save, read and written without torch."""
