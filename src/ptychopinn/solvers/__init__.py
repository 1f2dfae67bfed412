"""What finds an object for measured patterns: one contract, one file per solver."""
