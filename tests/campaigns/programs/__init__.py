"""Random programs: RTL against the golden machine, shrunk to a few lines where they differ."""
