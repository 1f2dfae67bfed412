"""Programs of others that can do a part of the work, one module each, imported when asked for."""
