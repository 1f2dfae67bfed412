"""The commands of the earlier program."""
