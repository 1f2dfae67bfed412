"""The programming interface under the names of the earlier program."""
