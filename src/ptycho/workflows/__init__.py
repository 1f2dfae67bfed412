"""Training, saving and loading under the names of the earlier program."""
