"""Train, reconstruct, refine, pretrain, compare: for Python and the command line alike."""
