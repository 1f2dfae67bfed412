"""Names of the earlier program that clients import, above all ptychodus ("PtychoPINN" there).

Nothing is computed here: every module translates between those names and :mod:`ptychopinn`, which
never imports this package. The global state that clients expect lives in ``ptycho.params.cfg`` and
nowhere else. See docs/ptychodus.md.
"""
