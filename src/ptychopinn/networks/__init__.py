"""Architectures, described once as data: importing this package makes those known that come with
the program. Each backend builds them from the same description."""

from ptychopinn.networks import cnn, ffno, fno, hybrid_resnet, neuralop_uno, unrolled, vit

__all__ = ["cnn", "ffno", "fno", "hybrid_resnet", "neuralop_uno", "unrolled", "vit"]
