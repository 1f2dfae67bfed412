"""The experiment, written once for all frameworks: forward model, losses, scales, noise."""
