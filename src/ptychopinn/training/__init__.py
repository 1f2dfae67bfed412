"""What training means, whichever framework computes it: data, loss, schedule, health, record."""
