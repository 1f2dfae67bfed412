"""Names of the earlier program's PyTorch edition, for ptychodus ("PtychoPINN-Torch" there).

As in :mod:`ptycho`, nothing is computed here. Importing this package imports no framework. See
docs/ptychodus.md.
"""
