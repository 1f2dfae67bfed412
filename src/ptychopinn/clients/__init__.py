"""What programs that already exist need: ptychodus, and scripts for the earlier commands.

The packages ``ptycho`` and ``ptycho_torch`` and the commands ``ptycho_train`` and
``ptycho_inference`` only translate to what is here.
"""
