"""The forms that data comes in: each lists its examples, and decodes nothing."""
