"""Looking at data before training on it: what is there, and what is wrong with it."""
