"""A run's network as a file for another library, with what travels along."""
