"""Raw data made to break ``prepare``: each is refused in one sentence, quickly and in little
memory, and nothing is prepared of it that was not measured."""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptychopinn.data.findings import recorded_findings
from ptychopinn.errors import InputError
from ptychopinn.io import load_scan
from ptychopinn.io.matlab import read_version_5, variables
from ptychopinn.sources import open_source
from ptychopinn.sources.overview import overview
from ptychopinn.workflows.prepare import prepare
from raw_files import ENERGY, Raw


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Raw:
    return Raw(tmp_path_factory.mktemp("raw"))


@pytest.fixture
def raw(made: Raw, tmp_path: Path) -> Raw:
    """Files of its own for every test, of one scan."""
    own = object.__new__(Raw)
    own.__dict__.update(vars(made))
    own.folder = tmp_path
    return own


def known(raw: Raw) -> dict[str, Any]:
    geometry = {"energy_eV": ENERGY, "distance_m": 1.0, "detector_pixel_m": raw.detector_pixel}
    return {"probe": str(raw.native), **geometry}


def refused(action: Callable[[], Any], *words: str) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as caught:
        action()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1 << 20, f"{grown >> 10} MiB"
    text = str(caught.value)
    assert "\n" not in text and len(text) < 1500, text
    for word in words:
        assert word in text, text
    return text


# --- positions --------------------------------------------------------------------------------

Change = Callable[[h5py.File, float], None]


def set_in(key: str, at: Any) -> Change:
    def change(file: h5py.File, value: float) -> None:
        file[key][at] = value

    return change


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1e300])
@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("nexus", set_in("entry_1/sample_1/geometry_1/translation", (0, 3, 1))),
        ("ptyd", set_in("chunks/0/positions", (3, 0))),
        ("matlab_73", set_in("ppY", (0, 3))),
        ("keys", set_in("motors/y_um", 3)),
    ],
)
def test_positions_that_are_no_places(raw: Raw, kind: str, change: Change, value: float) -> None:
    path = getattr(raw, kind)()
    with h5py.File(path, "r+") as file:
        change(file, value)
    geometry = known(raw) if kind in ("keys", "nexus") else {"probe": str(raw.native)}
    scan = prepare(path, **geometry)
    assert scan.M == 39
    (found,) = [one for one in recorded_findings(scan.provenance) if "left out" in one.message]
    assert "position 3" in found.message


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_positions_of_which_many_are_no_places_are_refused(raw: Raw, value: float) -> None:
    path = raw.keys()
    with h5py.File(path, "r+") as file:
        file["motors/y_um"][3:20] = value
    refused(lambda: prepare(path, **known(raw)), "position")


def test_positions_of_patterns_that_are_left_out_need_not_be_there(raw: Raw) -> None:
    path = raw.keys()
    with h5py.File(path, "r+") as file:
        file["motors/y_um"][0] = np.nan
    assert prepare(path, frames="1:", **known(raw)).M == 39


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1 " * 200_000, "line 1"),
        ("y,x\n" + "5" * 300_000, "line 2"),
        ("\0\0", "no text"),
        (b"\xff\xfe1,2\n", "no text"),
        ("", "empty"),
        ("# y x\n", "without any"),
        ("1_0,2\n3,4\n", "columns"),
    ],
)
def test_tables_that_are_none(raw: Raw, content: str | bytes, words: str) -> None:
    path = raw.folder / "p.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    given = {**known(raw), "positions": str(path), "unit": "um"}
    refused(lambda: prepare(raw.keys(), **given), words if words != "columns" else "")


@pytest.mark.parametrize("column", ["²", "9" * 6000, "٣٣", "-1", "0", "1e0"])
def test_columns_that_are_none(raw: Raw, column: str) -> None:
    given = {**known(raw), "positions": f"{raw.table()}:1,{column}"}
    refused(lambda: prepare(raw.keys(), **given), "a column of")


@pytest.mark.parametrize("grid", ["1000000,1000000", "99999999999,1", "5,9"])
def test_a_raster_of_other_patterns(raw: Raw, grid: str) -> None:
    path = raw.folder / "frames.npy"
    np.save(path, raw.counts)
    given = {**known(raw), "grid": grid, "step": "1", "unit": "um"}
    refused(lambda: prepare(path, **given), "40 patterns", "a grid of")


@pytest.mark.parametrize("option", ["crop", "centre", "step", "grid", "rotate_positions"])
@pytest.mark.parametrize(
    "value", ["nan", "inf", "1e400", "-1e300", "9" * 5000, "nan,nan", "²,²", f"0,{'9' * 150}"]
)
def test_options_that_are_no_numbers(raw: Raw, option: str, value: str) -> None:
    given = {**known(raw), option: value}
    if option == "step":
        given |= {"grid": "5,8", "unit": "um"}
    refused(lambda: prepare(raw.keys(), **given))


# --- what is declared only --------------------------------------------------------------------


def deflated(blocks: int, bits: int = zlib.MAX_WBITS) -> bytes:
    """So many times 16 MiB of zeros; a block that was flushed can be repeated."""
    worker, block = zlib.compressobj(9, zlib.DEFLATED, bits), bytes(1 << 24)
    first, again = (worker.compress(block) + worker.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * (blocks - 1) + worker.flush()


@pytest.mark.parametrize("shape", [(1 << 40, 32, 32), (1 << 20, 1 << 20, 32, 32)])
def test_patterns_that_are_declared_only(raw: Raw, shape: tuple[int, ...]) -> None:
    path = raw.folder / "huge.h5"
    with h5py.File(path, "w") as file:
        chunks = (*(1,) * (len(shape) - 2), 32, 32)
        file.create_dataset("frames", shape, np.uint32, chunks=chunks)
    given = {**known(raw), "positions": str(raw.table())}
    refused(lambda: prepare(path, **given), "must be stored in the file")
    grid = {**known(raw), "grid": f"{shape[0]},1", "step": "1", "unit": "um"}
    refused(lambda: prepare(path, **grid), "must be stored in the file")


def test_a_chunk_of_hdf5_that_unpacks_to_gigabytes(raw: Raw) -> None:
    path = raw.folder / "bomb.h5"
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("frames", data=raw.counts, chunks=(1, 32, 32), compression=1)
        stored.id.write_direct_chunk((7, 0, 0), deflated(3 << 6))
        file["probe"] = raw.probe
        file["diffraction"], file["xcoords"] = h5py.SoftLink("/frames"), raw.x
    given = {**known(raw), "positions": str(raw.table())}
    refused(lambda: prepare(path, **given), "has a chunk of")


def test_weights_that_are_declared_only(raw: Raw) -> None:
    path = raw.ptyd()
    with h5py.File(path, "r+") as file:
        del file["chunks/0/weights"]
        file.create_dataset("chunks/0/weights", (1 << 40, 32, 32), bool, chunks=(1, 32, 32))
    # They are those of other patterns.
    assert prepare(path, probe=str(raw.native)).M == 40


def test_a_tree_of_links_is_listed(raw: Raw) -> None:
    path = raw.keys()
    with h5py.File(path, "r+") as file:
        for k in range(19, 0, -1):
            inner = file.require_group("end") if k == 19 else file[f"level{k + 1}"]
            group = file.create_group(f"level{k}")
            for name in "abcd":
                group[name] = inner
    assert "frames" in {item.key for item in overview(path).items}


# --- images -----------------------------------------------------------------------------------


def tagged(raw: Raw, **options: Any) -> Path:
    import tifffile

    path = raw.folder / "stack.tif"
    with tifffile.TiffWriter(path) as file:
        for frame in raw.counts:
            file.write(frame, contiguous=False, **options)
    return path


def test_a_chain_of_pages_that_leads_nowhere(raw: Raw) -> None:
    """tifffile would go on with the pages before it."""
    import tifffile

    path = tagged(raw)
    with tifffile.TiffFile(path) as file:
        offset = file.pages[30].offset
    content = bytearray(path.read_bytes())
    at = content.index(offset.to_bytes(4, "little"))
    for wrong in (len(content) + 100, 8, 3):
        content[at : at + 4] = wrong.to_bytes(4, "little")
        path.write_bytes(content)
        given = {**known(raw), "positions": str(raw.table()), "frames": "0:20"}
        refused(lambda given=given: prepare(path, **given), "damaged")


def test_pages_of_another_type(raw: Raw) -> None:
    import tifffile

    path = raw.folder / "stack.tif"
    with tifffile.TiffWriter(path) as file:
        for k, frame in enumerate(raw.counts):
            file.write(frame if k != 20 else frame.astype(np.float32), contiguous=False)
    given = {**known(raw), "positions": str(raw.table())}
    refused(lambda: prepare(path, **given), "one size and type", "float32")


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_a_page_that_unpacks_to_gigabytes(raw: Raw, compression: str) -> None:
    import lzma

    import tifffile

    path = tagged(raw, compression=compression, predictor=False)
    block = bytes(1 << 24)
    if compression == "zlib":
        bomb = deflated(3 << 6)
    else:
        worker = lzma.LZMACompressor(preset=0)
        bomb = b"".join(worker.compress(block) for _ in range(12)) + worker.flush()
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        places = [tags[name].valueoffset for name in ("StripOffsets", "StripByteCounts")]
    content = bytearray(path.read_bytes())
    for place, value in zip(places, (len(content), len(bomb)), strict=True):
        content[place : place + 4] = value.to_bytes(4, "little")
    path.write_bytes(bytes(content) + bomb)
    given = {**known(raw), "positions": str(raw.table())}
    refused(lambda: prepare(path, **given), "unpack to more than")


def test_a_mask_without_any(raw: Raw) -> None:
    given = known(raw)
    for stack in (np.zeros((0, 32, 32)), np.full((32, 32), "x"), np.zeros((32, 32), "M8[s]")):
        np.save(raw.folder / "mask.npy", stack)
        for option in ("mask", "dark", "flat"):
            chosen = {**given, option: str(raw.folder / "mask.npy")}
            refused(lambda chosen=chosen: prepare(raw.keys(), **chosen), "mask.npy")


# --- Zarr -------------------------------------------------------------------------------------


def stored(raw: Raw) -> tuple[Path, dict[str, Any]]:
    pytest.importorskip("zarr", reason="the extra zarr is not installed")
    path = raw.zarr(3)
    return path, {**known(raw), "positions": f"{path}:y_um,x_um", "unit": "um"}


def described(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def test_a_store_that_is_declared_only(raw: Raw) -> None:
    path, given = stored(raw)
    described(path / "frames/zarr.json", shape=[1 << 40, 32, 32])
    refused(lambda: prepare(path, **given), "must be stored in the file")
    described(path / "frames/zarr.json", shape=[40, 32, 32])
    described(path / "y_um/zarr.json", shape=[1 << 40])
    refused(lambda: prepare(path, **given), "must be stored in the file")


def test_a_pipe_in_a_store(raw: Raw) -> None:
    for name in ("frames/c/9/0/0", "y_um/c/0", "y_um/zarr.json"):
        path, given = stored(raw)
        (path / name).unlink()
        os.mkfifo(path / name)
        refused(lambda given=given, path=path: prepare(path, **given), "pipe")


def test_a_chunk_that_unpacks_to_gigabytes(raw: Raw) -> None:
    path, given = stored(raw)
    gzipped = {"name": "gzip", "configuration": {"level": 1}}
    plain = {"name": "bytes", "configuration": {"endian": "little"}}
    described(path / "frames/zarr.json", codecs=[plain, gzipped])
    for k in range(10):
        chunk = gzip.compress(raw.counts[4 * k : 4 * k + 4].astype("<u2").tobytes())
        (path / f"frames/c/{k}/0/0").write_bytes(chunk)
    assert prepare(path, **given).M == 40
    (path / "frames/c/7/0/0").write_bytes(deflated(3 << 6, zlib.MAX_WBITS | 16))
    refused(lambda: prepare(path, **given), "unpack to more than")


def test_a_store_in_circles(raw: Raw) -> None:
    path, given = stored(raw)
    for name in "abcdef":
        (path / name).symlink_to(path)
    (path / "other").symlink_to(path / "inner")
    (path / "inner").mkdir()
    (path / "inner" / "zarr.json").write_bytes((path / "zarr.json").read_bytes())
    (path / "inner" / "back").symlink_to(path)
    assert {item.key for item in overview(path).items} == {"frames", "x_um", "y_um"}
    assert prepare(path, patterns="frames", **given).M == 40


def test_a_damaged_store_is_listed_in_one_sentence(raw: Raw) -> None:
    path, _ = stored(raw)
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": 7')
    refused(lambda: overview(path), "damaged")


# --- patterns ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1e300, 1e30, 2.0**60])
@pytest.mark.parametrize("number", [0, 5, 39])
def test_a_count_that_nobody_counted(raw: Raw, number: int, value: float) -> None:
    """One damaged number would take all others with it, or become infinite in the file."""
    path = raw.keys()
    with h5py.File(path, "r+") as file:
        counts = file["frames"][:].astype(np.float64)
        counts[number, 16, 16] = value
        del file["frames"]
        file["frames"] = counts
    output = raw.folder / "scan.h5"
    refused(lambda: prepare(path, output, **known(raw)), f"in pattern {number}")
    assert not output.exists()


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["output", "positions", "mask", "dark", "probe"])
def test_a_source_is_not_overwritten(raw: Raw, option: str) -> None:
    path = raw.keys()
    given = known(raw)
    target = path
    if option in ("mask", "dark"):
        target = raw.folder / f"{option}.h5"
        with h5py.File(target, "w") as file:
            file["image"] = np.zeros((32, 32))
        given[option] = f"{target}:image"
    elif option == "probe":
        target = Path(shutil.copy(raw.native, raw.folder / "probe.h5"))
        given["probe"] = f"{target}:probe"
    elif option == "positions":
        target = Path(shutil.copy(path, raw.folder / "places.h5"))
        given["positions"] = f"{target}:motors/y_um,motors/x_um"
    before = target.read_bytes()
    linked = raw.folder / "other.h5"
    linked.hardlink_to(target)
    for output in (target, linked):
        words = "another file than what it is made of"
        refused(lambda output=output: prepare(path, output, force=True, **given), words)
    assert target.read_bytes() == before


@pytest.mark.parametrize("name", ["frames**.tif", "[", "a[b", "**", "x\0y*"])
def test_names_with_signs_of_patterns(raw: Raw, name: str) -> None:
    refused(lambda: prepare(str(raw.folder / "nothing" / name), **known(raw)))


def test_names_that_are_no_text(raw: Raw) -> None:
    source = raw.folder / os.fsdecode(b"n\xff\xfe.h5")
    raw.keys().rename(source)
    output = raw.folder / os.fsdecode(b"o\xff.h5")
    scan = prepare(source, output, **known(raw))
    assert scan.M == 40 and load_scan(output).provenance["sources"] == [str(source)]
    assert scan.name == "n\\udcff\\udcfe"
    again = prepare(source, recipe=output)
    np.testing.assert_array_equal(np.asarray(again.diffraction), raw.counts)


def test_what_is_no_regular_file(raw: Raw) -> None:
    pipe, circle = raw.folder / "pipe", raw.folder / "circle"
    os.mkfifo(pipe)
    circle.symlink_to(circle)
    images = raw.tiff_folder()
    os.mkfifo(images / "frame_40.tiff")
    for path in (pipe, circle, images, Path("/dev/zero")):
        refused(lambda path=path: open_source(path))
        if path != images:
            refused(lambda path=path: overview(path))
    for option in ("positions", "mask", "dark", "flat", "probe", "recipe"):
        for path in (pipe, circle):
            given = {**known(raw), option: path if option == "recipe" else str(path)}
            refused(lambda given=given: prepare(raw.keys(), **given))
            if option not in ("recipe", "positions"):
                given[option] = f"{path}:key"
                refused(lambda given=given: prepare(raw.keys(), **given))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "centre: " + "[" * 5000,
        "bin: " + "9" * 6000,
        "energy_eV: .nan",
        "energy_eV: 1e999",
        "positions: " + "p" * 100_000,
        "probe: !!python/object/apply:os.system [true]",
        "frames: 2001-99-99",
        "\0",
        "- 1",
        "mask: [1, 2]",
        "1: 2",
    ],
)
def test_recipes_that_are_none(raw: Raw, text: str) -> None:
    path = raw.folder / "recipe.yaml"
    path.write_text(text)
    refused(lambda: prepare(raw.keys(), recipe=path, **known(raw)))


@pytest.mark.parametrize("kind", ["fzp", "kb", "gaussian", "disc", "electron"])
@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "1e300m", "1e-300m", "1e-30", "-1e300"])
def test_optics_that_nobody_has(raw: Raw, kind: str, value: str) -> None:
    """Refused, or a probe that is one."""
    from ptychopinn.probes.recipes import KINDS

    usual = {"diameter": "180um", "zone": "50nm", "fwhm": "0.1um", "kv": "300", "alpha": "1mrad"}
    usual |= {"na": "0.001", "energy": "8.8keV", "pixel": "10nm"}
    needed = {k for k in KINDS[kind] if KINDS[kind][k].needed} | ({"na"} if kind == "kb" else set())
    for key in KINDS[kind]:
        told = {**{k: usual[k] for k in needed}, key: value}
        if kind == "disc":
            told = {"diameter": "0.1um", key: value}
        text = f"{kind}:" + ",".join(f"{k}={v}" for k, v in told.items())
        try:
            scan = prepare(raw.keys(), probe=text, energy_eV=ENERGY, pixel_size_m=1e-8)
        except InputError:
            continue
        assert np.isfinite(scan.probe).all() and scan.probe.any()


def test_numbers_of_no_known_type_in_a_file_of_matlab_5(raw: Raw) -> None:
    """SciPy would crash on them."""
    path = raw.matlab_5()
    content = path.read_bytes()
    whole = read_version_5(path, next(iter(variables(path))))
    assert np.isfinite(whole).all()
    # Arrays of double numbers of more than 8 bytes have a tag (9, length) before them.
    refused_once = False
    for at in range(128, len(content) - 8, 4):
        kind, length = struct.unpack_from("<2I", content, at)
        if kind in (1, 2, 3, 4, 5, 6, 7, 9) and 64 < length < len(content):
            path.write_bytes(content[:at] + struct.pack("<I", 200) + content[at + 4 :])
            for key in variables(path):
                with suppress(InputError):
                    read_version_5(path, key)
                    continue
                refused_once = True
            break
    assert refused_once
