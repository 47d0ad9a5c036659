"""Features of the frozen part of a network, computed once per image and kept."""
