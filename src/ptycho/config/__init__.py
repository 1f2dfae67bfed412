"""Configuration classes of the earlier program; imports no framework."""
