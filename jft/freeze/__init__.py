"""Which parameters train: freeze rules, normalisation modes, phases over epochs."""
