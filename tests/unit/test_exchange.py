"""The exchange formats: nothing is lost that a format can hold, and all else is said."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.forward import intensities
from ptychopinn.cli import run
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.io.convert import convert
from ptychopinn.io.reconstructions import load_reconstruction
from ptychopinn.io.record import (
    ALL,
    METADATA,
    Patterns,
    Product,
    Record,
    conjugate_pixel_m,
    contents,
)
from ptychopinn.io.scans import (
    cxi,
    fold_slice,
    identify,
    load_scan,
    npz,
    ptychodus_product,
    ptychodus_scan,
    ptychodus_training,
    save_scan,
)
from ptychopinn.simulation import simulate
from ptychopinn.workflows.prepare import prepare

N, M, PIXEL = 32, 20, 8.5e-9
GEOMETRY = {"photon_energy_eV": 8800.0, "detector_object_distance_m": 1.92}


def example_scan(**changes: Any) -> Scan:
    """Counts that follow from probe, object and positions, which are not on whole pixels."""
    rng = np.random.default_rng(3)
    v, u = np.indices((N, N)) - N / 2
    probe = np.exp(-(v**2 + u**2) / 40 + 0.05j * (v**2 + 2 * u**2))
    probe = np.stack([probe, 0.2 * u * probe])
    probe *= 60 / np.sqrt((np.abs(probe) ** 2).sum())
    rows, columns = np.indices((70, 84))
    obj = (0.8 + 0.2 * np.cos(rows / 4)) * np.exp(0.5j * np.sin(columns / 5 + rows / 9))
    positions = rng.uniform((N / 2, N / 2), (70 - N / 2 - 1, 84 - N / 2 - 1), (M, 2))
    counts = rng.poisson(intensities(obj, probe, positions)).astype(np.uint16)
    mask = np.ones((N, N), bool)
    mask[3, 5] = False
    values: dict[str, Any] = {
        "diffraction": counts,
        "positions_px": positions,
        "probe": probe.astype(np.complex64),
        "object": obj.astype(np.complex64),
        "mask": mask,
        "pixel_size_m": PIXEL,
        "energy_eV": 8800.0,
        "distance_m": 1.92,
        "name": "a scan",
    }
    return Scan(**(values | changes))


def example_record() -> Record:
    """A record with something in every item."""
    rng = np.random.default_rng(5)

    def random_complex(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)

    indexes = np.arange(3, 3 + M)
    product = Product(
        indexes=indexes,
        positions_m=rng.normal(size=(M, 2)) * 1e-7,
        probe=random_complex(3, 2, N, N),
        object=random_complex(2, 90, 100),
        center_m=(2e-7, -3e-7),
        object_pixel_m=(PIXEL, PIXEL),
        probe_pixel_m=(PIXEL, 1.1 * PIXEL),
        layer_spacing_m=np.array([2e-6]),
        opr_weights=rng.normal(size=(M, 3)),
        photon_counts=rng.uniform(1e4, 2e4, M),
        loss_epochs=np.array([1, 2, 5]),
        loss_values=np.array([3.0, 2.0, 1.5]),
        metadata={
            **METADATA,
            **GEOMETRY,
            "name": "thing",
            "comments": "a remark",
            "probe_photon_count": 12345.0,
            "exposure_time_s": 0.02,
            "mass_attenuation_m2_per_kg": 0.1,
            "tomography_angle_deg": 30.0,
            "focus_object_distance_m": 0.003,
            "tilt_angle_deg": 2.0,
            "polarization": "LCP",
        },
    )
    bad = np.zeros((N, N), bool)
    bad[1, 2] = True
    patterns = Patterns(
        counts=rng.poisson(4, (M, N, N)).astype(np.uint8),
        indexes=indexes,
        bad_pixels=bad,
        detector_pixel_m=(75e-6, 76e-6),
        photon_counts=rng.uniform(1e4, 2e4, M),
    )
    return Record(patterns, product)


def assert_equal(first: Any, second: Any) -> None:
    """Equal field by field; numbers up to rounding where metres were computed."""
    for key in type(first).__dataclass_fields__:
        a, b = getattr(first, key), getattr(second, key)
        if a is None or b is None:
            assert a is b, key
        elif key == "metadata":
            assert a.keys() == b.keys()
            for name, value in a.items():
                assert b[name] == (value if isinstance(value, str) else pytest.approx(value)), name
        else:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-20, err_msg=key)
            if isinstance(a, np.ndarray):
                assert a.dtype == b.dtype, key


def test_the_example_holds_every_item() -> None:
    assert contents(example_record()) == ALL - {"far_field"}


@pytest.mark.parametrize("name", ["product.h5", "product.npz"])
def test_a_product_is_kept_whole(tmp_path: Path, name: str) -> None:
    product = example_record().product
    ptychodus_product.write_record(Record(None, product), tmp_path / name)
    assert identify(tmp_path / name) == "product"
    assert_equal(ptychodus_product.read_record(tmp_path / name).product, product)


def test_a_scan_of_ptychodus_is_kept_whole(tmp_path: Path) -> None:
    record = example_record()
    ptychodus_scan.write_record(record, tmp_path)
    again = ptychodus_scan.read_record(tmp_path)
    assert_equal(again.patterns, record.patterns)
    assert_equal(again.product, record.product)


WRITERS = {
    "out.cxi": cxi,
    "training.h5": ptychodus_training,
    "out_dp.hdf5": fold_slice,
    "out.npz": npz,
}


@pytest.mark.parametrize("name", WRITERS)
def test_all_that_a_format_claims_to_keep_survives(tmp_path: Path, name: str) -> None:
    module: Any = WRITERS[name]
    record = example_record()
    # What it does not claim is taken away; then nothing at all may change.
    kept = module.KEEPS
    product, patterns = record.product, record.patterns
    assert patterns is not None
    metadata = {k: v if k in kept else METADATA[k] for k, v in product.metadata.items()}
    metadata["name"] = metadata["name"] if "name" in kept else Path(name).stem.removesuffix("_dp")
    indexes = np.arange(M)
    center = product.center_m if "center" in kept else (0.0, 0.0)
    product = replace(
        product,
        indexes=indexes,
        metadata=metadata,
        center_m=center,
        probe=product.probe if "opr" in kept else product.probe[:1],
        opr_weights=product.opr_weights if "opr" in kept else None,
        probe_pixel_m=product.probe_pixel_m if "probe_pixel" in kept else product.object_pixel_m,
        photon_counts=None,
        object=product.object if "layers" in kept else product.object[:1],
        layer_spacing_m=product.layer_spacing_m if "layers" in kept else np.zeros(0),
        loss_epochs=product.loss_epochs if "losses" in kept else np.zeros(0, np.int64),
        loss_values=product.loss_values if "losses" in kept else np.zeros(0),
    )
    pixel = conjugate_pixel_m((PIXEL, PIXEL), N, metadata)
    detector = patterns.detector_pixel_m if "detector_pixel" in kept else pixel
    patterns = replace(patterns, indexes=indexes, photon_counts=None, detector_pixel_m=detector)
    reduced = Record(patterns, product)
    assert contents(reduced) <= kept | {"name"}
    path = tmp_path / name
    module.write_record(reduced, path)
    assert identify(path) == module.NAME
    if module is npz:
        scan = load_scan(path)
        y, x = (product.positions_m - np.array(center)).T / PIXEL
        np.testing.assert_allclose(scan.positions_px, np.stack([y + 45, x + 50], axis=1))
        np.testing.assert_array_equal(scan.diffraction[:], patterns.counts)
        assert scan.pixel_size_m == pytest.approx(PIXEL)
        return
    again = module.read_record(path)
    if module is fold_slice:
        where = patterns.bad_pixels
        patterns = replace(patterns, counts=np.where(where, 0, patterns.counts).astype(np.uint8))
        patterns = replace(patterns, detector_pixel_m=None)
        metadata = {**metadata, "detector_object_distance_m": 0.0}
        product = replace(product, metadata=metadata)
    if module is ptychodus_training:
        product = replace(product, metadata={**metadata, "name": ""})
    assert_equal(again.patterns, patterns)
    assert_equal(again.product, product)


def modelled_by_ptychodus(product: Product, n: int) -> np.ndarray:
    """Patterns (n, N, N) as ptychodus models them: patches start at the whole part of x - (N-1)/2.

    Written from its conventions, independently of this program's; tests/clients compares with the
    program itself.
    """
    obj, (height, width) = product.object[0], product.object_pixel_m
    patterns = []
    for y_m, x_m in product.positions_m:
        y = (y_m - product.center_m[0]) / height + (obj.shape[0] - 1) / 2 - (n - 1) / 2
        x = (x_m - product.center_m[1]) / width + (obj.shape[1] - 1) / 2 - (n - 1) / 2
        row, column = int(y), int(x)
        k = np.fft.fftfreq(n)
        ramp = np.exp(-2j * np.pi * (k[:, None] * (y - row) + k[None, :] * (x - column)))
        modes = np.fft.ifft2(np.fft.fft2(product.probe[0]) * ramp)
        waves = modes * obj[row : row + n, column : column + n]
        far = np.fft.fftshift(np.fft.fft2(waves, norm="ortho"), axes=(-2, -1))
        patterns.append((np.abs(far) ** 2).sum(axis=0))
    return np.array(patterns)


def test_patches_are_where_ptychodus_puts_them(tmp_path: Path) -> None:
    scan = example_scan()
    save_scan(scan, tmp_path / "scan.h5")
    convert(tmp_path / "scan.h5", tmp_path / "pty")
    product = ptychodus_product.read_record(tmp_path / "pty" / "product.h5").product
    modelled = modelled_by_ptychodus(product, N)
    # Whole-pixel patches are chosen by truncation there and by rounding here: a sub-pixel shift
    # then moves the probe by up to one pixel more, which a smooth object hardly notices.
    ours = intensities(scan.object, scan.probe, scan.positions_px)
    assert np.linalg.norm(modelled - ours) < 0.06 * np.linalg.norm(ours)
    whole = np.floor(scan.positions_px)
    exact = replace(product, positions_m=(whole + 1e-6) * PIXEL)
    np.testing.assert_allclose(
        modelled_by_ptychodus(exact, N),
        intensities(scan.object, scan.probe, whole),
        rtol=1e-3,
        atol=1e-3,
    )


SCANS = ["scan.h5", "scan.npz", "pty", "training.h5", "scan.cxi", "scan_dp.hdf5"]
TO = {"training.h5": "ptychodus-training"}


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(SCANS, 2)))
def test_a_scan_survives_every_conversion(tmp_path: Path, first: str, second: str) -> None:
    scan = example_scan(mask=None)
    a, b = tmp_path / "a", tmp_path / "b"
    save_scan(scan, tmp_path / "start.h5")
    convert(tmp_path / "start.h5", a / first, to=TO.get(first))
    convert(a / first, b / second, to=TO.get(second))
    again = load_scan(b / second)
    np.testing.assert_array_equal(again.diffraction[:], scan.diffraction)
    np.testing.assert_allclose(again.positions_px, scan.positions_px, atol=1e-6)
    if not ("scan_dp.hdf5" in (first, second) and "scan.npz" in (first, second)):
        assert again.pixel_size_m == pytest.approx(PIXEL, rel=1e-9)
    # The product of probe and object is what was measured; their scales may have moved.
    np.testing.assert_allclose(
        intensities(again.object, again.probe, again.positions_px),
        intensities(scan.object, scan.probe, scan.positions_px),
        rtol=2e-2,
        atol=1e-2,
    )
    if "scan_dp.hdf5" not in (first, second):
        assert (again.energy_eV, again.distance_m) == (
            pytest.approx(8800.0),
            pytest.approx(1.92),
        )


@settings(max_examples=30, deadline=None)
@given(
    st.integers(-4, 4),
    st.tuples(st.integers(60, 90), st.integers(60, 90)),
    st.tuples(st.floats(-1e-5, 1e-5), st.floats(-1e-5, 1e-5)),
)
def test_positions_follow_the_centre(
    tmp_path_factory: pytest.TempPathFactory,
    step: int,
    shape: tuple[int, int],
    center: tuple[float, float],
) -> None:
    """Shifting everything in metres changes nothing; one pixel is one pixel."""
    rng = np.random.default_rng(0)
    product = replace(
        example_record().product,
        object=rng.normal(size=(1, *shape)).astype(np.complex64),
        layer_spacing_m=np.zeros(0),
        center_m=center,
        positions_m=np.array(center) + step * PIXEL * np.ones((M, 2)),
        probe_pixel_m=(PIXEL, PIXEL),
    )
    folder = tmp_path_factory.mktemp("product")
    ptychodus_product.write_record(Record(None, product), folder / "product.h5")
    positions = load_reconstruction(folder / "product.h5").positions_px
    np.testing.assert_allclose(positions, np.array([shape]) / 2 + step + np.zeros((M, 2)))


def test_patterns_and_positions_are_paired_by_index(tmp_path: Path) -> None:
    record = example_record()
    product = replace(
        record.product,
        # 0 twice, 2 missing, 5 without pattern
        indexes=np.array([0, 0, 1, 3, 4, 5]),
        positions_m=np.array([0.0, 2, 10, 30, 40, 50])[:, None] * PIXEL * np.ones((1, 2)),
        opr_weights=None,
        probe=record.product.probe[:1],
        photon_counts=None,
    )
    patterns = replace(
        record.patterns,
        counts=record.patterns.counts[:6],
        indexes=np.array([4, 0, 1, 2, 3, 7]),
        photon_counts=None,
        detector_pixel_m=None,
    )
    ptychodus_scan.write_record(Record(patterns, product), tmp_path)
    scan = load_scan(tmp_path)
    np.testing.assert_allclose(np.diff(scan.positions_px[:, 0]), [-39, 9, 10, 10])
    np.testing.assert_array_equal(scan.diffraction[:], patterns.counts[:5])
    assert scan.provenance["positions_averaged"] == 1
    assert scan.provenance["positions_interpolated"] == 1
    assert scan.provenance["patterns_without_position"] == 1
    done = convert(tmp_path, tmp_path / "x.cxi")
    assert "1 positions without pattern" in done.losses
    assert "1 patterns without position" in done.losses


def test_losses_are_said_by_name(tmp_path: Path) -> None:
    ptychodus_scan.write_record(example_record(), tmp_path / "pty")
    losses = convert(tmp_path / "pty", tmp_path / "x_dp.hdf5").losses
    assert "the variations of the probe along the scan" in losses
    assert "the losses" in losses
    assert any("exposure_time_s" in loss for loss in losses)
    assert convert(tmp_path / "pty", tmp_path / "again").losses == ()
    assert convert(tmp_path / "pty" / "product.h5", tmp_path / "p.npz").losses == ()
    said = convert(tmp_path / "pty", tmp_path / "p.h5", to="product").losses
    assert "the diffraction patterns" in said


def test_a_scan_without_object_gets_a_placeholder_that_is_not_taken_for_one(tmp_path: Path) -> None:
    scan = example_scan(object=None, mask=None)
    save_scan(scan, tmp_path / "scan.h5")
    convert(tmp_path / "scan.h5", tmp_path / "pty")
    again = load_scan(tmp_path / "pty")
    assert again.object is None
    moved = again.positions_px - scan.positions_px
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=1e-6)


def test_a_pair_of_fold_slice_needs_a_probe(tmp_path: Path) -> None:
    scan = example_scan()
    save_scan(scan, tmp_path / "scan.h5")
    y, x = scan.positions_px.T * PIXEL
    with h5py.File(tmp_path / "s_dp.hdf5", "w") as file:
        file["dp"] = scan.diffraction
    with h5py.File(tmp_path / "s_para.hdf5", "w") as file:
        file["ppX"], file["ppY"] = x[:, None], y[None]
        file["dx"], file["lambda"] = [[PIXEL]], 1.4089e-10
    with pytest.raises(InputError, match="probe='auto'"):
        load_scan(tmp_path / "s_dp.hdf5")
    again = load_scan(tmp_path / "s_para.hdf5", probe=f"{tmp_path / 'scan.h5'}:probe")
    moved = again.positions_px - scan.positions_px
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=1e-6)
    assert again.pixel_size_m == pytest.approx(PIXEL)
    assert again.energy_eV == pytest.approx(8800, rel=1e-3)


def test_the_command_converts_and_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_scan(example_scan(), tmp_path / "scan.h5")
    source, target = str(tmp_path / "scan.h5"), str(tmp_path / "pty")
    assert run(["convert", source, target]) == 0
    assert "nothing was lost" in capsys.readouterr().out
    assert run(["convert", source, target]) == 2
    assert "--force" in capsys.readouterr().err
    assert run(["convert", source, target, "--force"]) == 0
    assert run(["convert", source, source, "--force"]) == 2
    assert run(["convert", target, str(tmp_path / "x.tif")]) == 2
    product = str(tmp_path / "pty" / "product.h5")
    assert run(["convert", product, str(tmp_path / "x.h5"), "--to", "native"]) == 2
    assert "has none" in capsys.readouterr().err
    assert run(["inspect", product]) == 0
    assert run(["inspect", target]) == 0


def test_a_conversion_pairs_and_warns_as_reading_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One pattern more than positions belongs to none of them as long as nobody says which."""
    source = tmp_path / "more.cxi"
    convert(save_scan(example_scan(), tmp_path / "scan.h5"), source)
    with h5py.File(source, "r+") as file:
        key = "entry_1/instrument_1/detector_1/data"
        stored = file[key][()].astype(np.uint32)
        stored[:, 7, 9] = 2**32 - 1
        del file[key]
        file[key] = np.concatenate([stored[:1], stored])
    for name in ("new.npz", "new.h5", "new.cxi", "folder"):
        with pytest.raises(InputError, match=f"received {M + 1} patterns and {M} positions"):
            convert(source, tmp_path / name)
    assert run(["convert", str(source), str(tmp_path / "new.npz"), "--frames", "1:"]) == 0
    assert "WARNING more.cxi: masked 1 of 1024 pixels" in capsys.readouterr().err
    again = load_scan(tmp_path / "new.npz").diffraction[:]
    good = load_scan(tmp_path / "new.npz").mask
    np.testing.assert_array_equal(again[:, good], stored[:, good])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(key: str, value: Any) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            if key in file:
                del file[key]
            if value is not None:
                file[key] = value

    return apply


PRODUCT, DIFFRACTION = "product.h5", "diffraction.h5"
DAMAGE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "truncated patterns": (DIFFRACTION, cut, "truncated"),
    "truncated product": (PRODUCT, cut, "truncated"),
    "no product": (PRODUCT, Path.unlink, "no such file"),
    "no positions": (PRODUCT, change("probe_position_x_m", None), "probe_position_x_m"),
    "no probe": (PRODUCT, change("probe", None), "'probe'"),
    "text for positions": (PRODUCT, change("probe_position_x_m", "here"), "numbers"),
    "NaN positions": (PRODUCT, change("probe_position_x_m", np.full(M, np.nan)), "finite"),
    "fewer positions": (PRODUCT, change("probe_position_x_m", np.ones(3)), "(3,)"),
    "other indexes": (PRODUCT, change("probe_position_indexes", np.arange(M) + 99), "share"),
    "negative counts": (DIFFRACTION, change("patterns", -np.ones((M, N, N))), ">= 0"),
    "one axis": (DIFFRACTION, change("patterns", np.ones(4)), "axes"),
    "not square": (DIFFRACTION, change("patterns", np.ones((M, N, 30))), "bad_pixels"),
    "mask of another shape": (DIFFRACTION, change("bad_pixels", np.ones((3, 3), bool)), "(3, 3)"),
    "a link to another file": (
        DIFFRACTION,
        change("patterns", h5py.ExternalLink("/etc/passwd", "x")),
        "link",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file, damage, words = DAMAGE[name]
    save_scan(example_scan(), tmp_path / "scan.h5")
    convert(tmp_path / "scan.h5", tmp_path / "pty")
    damage(tmp_path / "pty" / file)
    for command in (["inspect"], ["convert"]):
        end = [str(tmp_path / "out.cxi")] if command == ["convert"] else []
        assert run([*command, str(tmp_path / "pty"), *end]) == 2
        message = capsys.readouterr().err.strip()
        assert message.count("\n") == 0
        if command == ["inspect"] or "counts" not in name:
            assert words in message, message
    assert not (tmp_path / "out.cxi").exists()


@pytest.mark.parametrize("name", ["x.cxi", "x_dp.hdf5", "t.h5", "product.npz"])
def test_truncated_files_of_every_format_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    save_scan(example_scan(), tmp_path / "scan.h5")
    to = {"t.h5": "ptychodus-training", "product.npz": "product"}.get(name)
    convert(tmp_path / "scan.h5", tmp_path / name, to=to)
    cut(tmp_path / name)
    assert run(["inspect", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.strip().count("\n") == 0


# --- the near field -----------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["npz", "fold_slice", "ptychodus-training"])
def test_the_near_field_does_not_become_the_far_field(to: str, tmp_path: Path) -> None:
    """In files that cannot say which one it is."""
    near = example_scan(propagation="near-field", focus_distance_m=0.5)
    source = save_scan(near, tmp_path / "near.h5")
    names = {
        "npz": "x.npz",
        "fold_slice": "x_dp.hdf5",
        "ptychodus-training": "t.h5",
    }
    with pytest.raises(InputError, match=r"near field in .*near\.h5.*native or ptychodus"):
        convert(source, tmp_path / "out" / names[to], to=to)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    copy = convert(source, tmp_path / "copy.h5").files[0]
    assert load_scan(copy).propagation == "near-field"


@pytest.mark.parametrize("name", ["folder", "product.h5", "product.npz"])
def test_products_of_the_near_field_say_so_and_are_refused(name: str, tmp_path: Path) -> None:
    near = example_scan(propagation="near-field", focus_distance_m=0.5)
    source = save_scan(near, tmp_path / "near.h5")
    convert(source, tmp_path / name, to="ptychodus" if name == "folder" else "product")
    product = tmp_path / name / "product.h5" if name == "folder" else tmp_path / name
    found = ptychodus_product.read_record(product).product.metadata
    assert (found["far_field"], found["focus_object_distance_m"]) == (False, 0.5)
    read = load_scan if name == "folder" else load_reconstruction
    with pytest.raises(InputError, match=r"far_field = False.*propagation='near-field'.*save_scan"):
        read(tmp_path / name)


CONE = {"propagation": "near-field", "focus_distance_m": 0.02}


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scan, Path, Path, Path]:
    """A scan in a cone beam, its native file, its CXI file, and one as others write it, without
    what this program adds."""
    folder = tmp_path_factory.mktemp("near")
    scan = simulate(N=32, patterns=64, photons=1e6, seed=1, propagator="near-field",
                    distance_m=0.03, focus_distance_m=0.02)  # fmt: skip
    native, own, others = save_scan(scan, folder / "near.h5"), folder / "a.cxi", folder / "b.cxi"
    assert "other programs" in convert(native, own).losses[0]
    convert(native, others)
    with h5py.File(others, "r+") as file:
        for name in ("ptychopinn", "ptychodus", "image_1/image_size", "image_2"):
            del file[f"entry_1/{name}"]
    return scan, native, own, others


def test_a_cone_beam_is_magnified_onto_the_detector_of_a_cxi_file(
    near: tuple[Scan, Path, Path, Path],
) -> None:
    scan, _, own, others = near
    with h5py.File(own) as file:
        # M = (z1 + z2) / z1
        pixel = file["entry_1/instrument_1/detector_1/x_pixel_size"][()]
        assert pixel == pytest.approx(scan.pixel_size_m * (0.02 + 0.03) / 0.02)
    for found in (
        load_scan(own),
        load_scan(others, **CONE),
        prepare(own),
        prepare(others, **CONE),
    ):
        for name in ("pixel_size_m", "energy_eV", "distance_m", *CONE):
            value = getattr(found, name)
            expected = getattr(scan, name)
            assert value == (expected if isinstance(expected, str) else pytest.approx(expected))
        assert np.ptp(found.positions_px - scan.positions_px, axis=0).max() < 1e-9
        assert (found.diffraction[:] == scan.diffraction[:]).all()
    # Binned patterns have larger pixels, whatever their number.
    assert prepare(others, **CONE, crop="32", bin=1).pixel_size_m == pytest.approx(1e-7)
    assert load_scan(others).propagation == "far-field"
    assert load_scan(others, propagation="near-field").pixel_size_m == pytest.approx(2.5e-7)


def test_a_cxi_scan_of_a_cone_beam_becomes_the_picture_of_the_native_one(
    near: tuple[Scan, Path, Path, Path], tmp_path: Path
) -> None:
    """By the pretrained network, and refined again from what the result says of its scan."""
    _, native, own, others = near
    said = ["--propagator", "near-field", "--focus-distance-m", "0.02"]
    found = []
    for name, options in ((native, []), (own, []), (others, said)):
        out = tmp_path / name.stem
        options = [*options, "--refine", "never", "--no-mend", "all", "--no-report"]
        assert run(["reconstruct", str(name), "-o", str(out), "--quiet", *options]) in (0, 3)
        found.append(load_reconstruction(out))
    for result in found:
        assert result.propagation == "near-field"
        assert result.focus_distance_m == pytest.approx(0.02)
    # A CXI file does not say the unit of a probe.
    waves = [result.object * np.linalg.norm(result.probe) for result in found[:2]]
    assert np.abs(waves[1] - waves[0]).max() < 1e-3 * np.abs(waves[0]).max()
    # Without the middle of the object all positions are moved by a part of a pixel.
    residuals = [result.provenance["fit"]["residual"] for result in found]
    assert residuals[2] == pytest.approx(residuals[0], rel=0.1)
    # What was said of the file is said again.
    refined = tmp_path / "refined"
    assert run(["refine", str(tmp_path / others.stem), "-o", str(refined), "--passes", "1",
                "--quiet", "--no-report"]) in (0, 3)  # fmt: skip
    assert load_reconstruction(refined).propagation == "near-field"


def test_the_source_of_a_cone_is_its_focus_unless_another_is_said(
    near: tuple[Scan, Path, Path, Path], tmp_path: Path
) -> None:
    others = tmp_path / "source.cxi"
    shutil.copy(near[3], others)
    with h5py.File(others, "r+") as file:
        file["entry_1/instrument_1/source_1/distance"] = -0.02
    found = load_scan(others, propagation="near-field")
    assert found.focus_distance_m == pytest.approx(0.02)
    (finding,) = found.provenance["findings"]
    assert finding["name"] == "cone-from-source"
    assert load_scan(others, propagation="near-field", focus_distance_m=0.04).pixel_size_m == (
        pytest.approx(2.5e-7 / 1.75)
    )
    assert load_scan(others).focus_distance_m is None


def test_what_cannot_be_said_of_the_way_to_the_detector_is_refused(
    near: tuple[Scan, Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, native, own, others = near
    for file, options, words in (
        (native, CONE, "only of a CXI file can .* in the format native"),
        (others, {"focus_distance_m": 0.02}, "belongs to the near field"),
        (others, {"propagation": "fresnel"}, "far-field, near-field, received 'fresnel'"),
        (others, {**CONE, "focus_distance_m": -1.0}, "must be positive"),
        (others, {**CONE, "distance_m": 1e4}, "between 0.0001 and 100"),
        (own, {**CONE, "focus_distance_m": 0.01}, "the probe in .* must be on pixels"),
    ):
        with pytest.raises(InputError, match=words):
            load_scan(file, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="belongs to the near field"):
        prepare(others, focus_distance_m=0.02)
    assert run(["inspect", str(others), "--focus-distance-m", "0.02"]) == 2
    sentence = capsys.readouterr().err
    assert "--propagator near-field" in sentence
    assert "propagation" not in sentence
    # Other formats are told by writing them anew.
    convert(near[1], tmp_path / "product")
    with pytest.raises(InputError, match="far_field = False"):
        load_scan(tmp_path / "product")
    convert(tmp_path / "product", tmp_path / "again.h5", **CONE)  # type: ignore[arg-type]
    assert load_scan(tmp_path / "again.h5").focus_distance_m == pytest.approx(0.02)


# --- numbers that contradict each other -----------------------------------------------------------


def flipped(value: float, bit: int) -> float:
    return float((np.array(value).view(np.uint64) ^ np.uint64(1 << bit)).view(np.float64))


@pytest.mark.parametrize(
    "key", ["photon_energy_eV", "detector_object_distance_m", "pixel_width_m", "detector pixel"]
)
@pytest.mark.parametrize("bit", [51, 52, 53, 54, 55])
def test_a_flipped_bit_in_a_number_of_the_experiment(key: str, bit: int, tmp_path: Path) -> None:
    """One that leaves it plausible: what follows from the others is another object pixel."""
    source = save_scan(example_scan(), tmp_path / "a.h5")
    convert(source, tmp_path / "scan")
    assert "findings" not in load_scan(tmp_path / "scan").provenance
    file, name, attributes = "product.h5", "/", (key,)
    if key == "pixel_width_m":
        name, attributes = "object", ("pixel_width_m", "pixel_height_m")
    elif key == "detector pixel":
        file, name = "diffraction.h5", "patterns"
        attributes = ("detector_pixel_width_m", "detector_pixel_height_m")
    with h5py.File(tmp_path / "scan" / file, "r+") as opened:
        for attribute in attributes:
            opened[name].attrs[attribute] = flipped(opened[name].attrs[attribute], bit)
    try:
        scan = load_scan(tmp_path / "scan")
    except InputError:
        return
    assert [found["name"] for found in scan.provenance["findings"]] == ["pixel-contradiction"]
