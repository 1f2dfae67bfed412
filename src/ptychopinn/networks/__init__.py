"""Architectures, described once as data; each backend builds them from the same description."""
