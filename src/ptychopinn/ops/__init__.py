"""The only files that import a framework: its array operations under common names."""
