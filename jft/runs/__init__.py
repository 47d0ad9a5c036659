"""The directory of a run, and the models saved in it."""
