"""The optimizer chain, learning-rate schedules, and what a phase passes to the next."""
