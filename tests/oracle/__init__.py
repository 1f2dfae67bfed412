"""The physics once more, in NumPy float64: slow, plain, and without a line of the package, so that
the package is not tested against itself."""
