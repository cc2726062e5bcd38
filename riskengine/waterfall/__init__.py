"""The mechanism: what a venue does, on one path, when accounts can no longer pay."""
