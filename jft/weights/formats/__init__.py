"""Readers and writers of checkpoint files, none of which anybody has to trust."""
