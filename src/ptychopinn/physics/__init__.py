"""The experiment in NumPy float64: slow, plain, and the reference every backend is tested
against."""
