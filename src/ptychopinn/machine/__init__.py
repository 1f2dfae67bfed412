"""What the machine offers and asks: threads, processes, signals, memory."""
