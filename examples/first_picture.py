"""From a scan file to a picture, with the network that comes with the package.

python examples/first_picture.py [SCAN] [PICTURE]

Without SCAN a simulated one is used. The file may be in any format that the package reads.
"""

from __future__ import annotations

import sys

import numpy as np
from matplotlib.figure import Figure

import ptychopinn as pp


def main(scan_file: str | None = None, picture: str = "first_picture.png") -> None:
    if scan_file is None:
        scan = pp.simulate(object="leaves", patterns=225, N=64, photons=1e6, seed=1)
    else:
        scan = pp.load_scan(scan_file)
    result = pp.reconstruct(scan)
    # How much of the measured counts the object and the probe leave unexplained, and how much
    # photon noise alone would leave.
    fit = result.fit
    print(f"residual {fit.residual:.4f}, photon noise {fit.expected:.4f}: {fit.verdict}")

    # Where no light fell, the object is not known.
    hidden = result.weight == 0
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(np.ma.masked_where(hidden, np.abs(result.object)), cmap="gray")
    left.set_title("amplitude")
    right.imshow(np.ma.masked_where(hidden, np.angle(result.object)), cmap="viridis")
    right.set_title("phase, rad")
    figure.savefig(picture)
    print(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
