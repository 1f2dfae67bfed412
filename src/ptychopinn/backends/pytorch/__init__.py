"""The PyTorch backend. Importing it imports torch; nothing outside this package does."""
