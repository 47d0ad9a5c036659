"""The command line and the terminal: what all commands share."""
