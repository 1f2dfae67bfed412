"""Interchangeable implementations of the physics, the networks and their training."""
