"""Opens files of this package with ptychodus, and writes files of ptychodus.

``files.py SCAN FOLDER``, run with the Python that has ptychodus: SCAN is a folder with
diffraction.h5 and product.h5, FOLDER holds the other files and gets those of ptychodus.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np


def same(first: Any, second: Any) -> None:
    """Two products agree in object, probe and where the patches are."""
    np.testing.assert_allclose(
        first.object_.get_array(), second.object_.get_array(), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(
        first.probes.get_probe_no_opr().get_array(), second.probes.get_probe_no_opr().get_array()
    )
    for axis in "xy":
        places = [
            getattr(p.object_.get_geometry(), f"map_probe_positions_to_object_{axis}_px")(
                p.probe_positions
            )
            for p in (first, second)
        ]
        np.testing.assert_allclose(*places, atol=1e-6)


def main(scan: Path, folder: Path) -> None:
    from ptychodus.api import io
    from ptychodus.api.probe_positions import ProbePosition, ProbePositionSequence
    from ptychodus.api.reconstruct import prepare_reconstruct_input
    from ptychodus.api.simulate.diffraction import generate_diffraction_data
    from ptychodus.plugins.cxi_file import CXIDiffractionFileReader, CXIProductFileIO
    from ptychodus.plugins.fold_slice.position_file import FoldSlicePositionFileReader
    from ptychodus.plugins.npz_product_file import NPZProductFileIO
    from ptychodus.plugins.training_data_file import (
        TrainingDataDiffractionFileReader,
        TrainingDataProductFileReader,
    )

    product = io.load_product(scan / "product.h5")
    data = io.load_diffraction_data(scan / "diffraction.h5")
    counts = np.asarray(data.get_patterns())

    # The object of a product is where the patches were taken: ptychodus itself predicts the
    # patterns. Whole pixels, because it splits fractions differently.
    predicted = generate_diffraction_data(product).get_patterns()
    in_place = np.corrcoef(predicted.ravel(), counts.ravel())[0, 1]
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        geometry = product.object_.get_geometry()
        moved = [
            ProbePosition(p.index, p.x_m + dx * geometry.pixel_width_m / 2,
                          p.y_m + dy * geometry.pixel_height_m / 2)
            for p in product.probe_positions
        ]  # fmt: skip
        other = generate_diffraction_data(
            replace(product, probe_positions=ProbePositionSequence(moved))
        ).get_patterns()
        assert np.corrcoef(other.ravel(), counts.ravel())[0, 1] < in_place, (dy, dx)

    same(product, CXIProductFileIO().read(folder / "ours.cxi"))
    patterns = next(iter(CXIDiffractionFileReader().read(folder / "ours.cxi"))).get_patterns()
    np.testing.assert_array_equal(patterns, counts)
    same(product, NPZProductFileIO().read(folder / "ours.npz"))
    same(product, TrainingDataProductFileReader().read(folder / "ours_training.h5"))
    dataset = TrainingDataDiffractionFileReader().read(folder / "ours_training.h5")
    np.testing.assert_array_equal(next(iter(dataset)).get_patterns(), counts)
    positions = FoldSlicePositionFileReader().read(folder / "ours_para.hdf5")
    np.testing.assert_allclose(
        positions.get_coordinates_x_m(), product.probe_positions.get_coordinates_x_m()
    )

    (folder / "theirs").mkdir()
    io.save_product(folder / "theirs" / "product.h5", product)
    io.save_diffraction_data(folder / "theirs" / "diffraction.h5", data)
    given = prepare_reconstruct_input(data, product)
    io.save_training_data(folder / "theirs_training.h5", given)
    io.save_ptychopinn_training_data(folder / "theirs.npz", given)
    combined(folder / "theirs.cxi", folder / "ours.cxi", product)


def combined(path: Path, source: Path, product: Any) -> None:
    """A CXI of ptychodus with patterns and product, which it writes as two files."""
    import h5py
    from ptychodus.plugins.cxi_file import (
        CXIDiffractionFileReader,
        CXIDiffractionFileWriter,
        CXIProductFileIO,
    )

    CXIProductFileIO().write(path, product)
    patterns = path.with_name("patterns.cxi")
    CXIDiffractionFileWriter().write(patterns, CXIDiffractionFileReader().read(source))
    with h5py.File(patterns) as one, h5py.File(path, "r+") as other:
        one.copy("/entry_1/instrument_1/detector_1/data", other["/entry_1/instrument_1/detector_1"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
