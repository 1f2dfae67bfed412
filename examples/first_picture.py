"""From a scan file to a picture, with the network that comes with the package.

python examples/first_picture.py [SCAN] [PICTURE]

Without SCAN a simulated one is used. The file may be in any format that the package reads.
"""

from __future__ import annotations

import sys

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

    # Amplitude and phase; "probe", "misfit", "patterns" and others are figures of a result as well.
    result.plot().savefig(picture)
    print(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
