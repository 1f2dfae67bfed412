"""Writing: whole or not at all, one writer at a time, and what dead processes left is swept."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.errors import InputError
from ptychopinn.io import atomic
from ptychopinn.io.atomic import (
    LOCK,
    TEMPORARY,
    CannotWrite,
    atomic_path,
    atomic_paths,
    claimed,
    replacing,
)
from ptychopinn.io.convert import convert
from ptychopinn.io.hdf5_writer import writing
from ptychopinn.io.models import Bundle, Manifest, load_bundle, save_bundle
from ptychopinn.io.reconstructions import load_reconstruction
from ptychopinn.machine.interruption import Interrupted


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def result(seed: int = 0, size: int = 48) -> Reconstruction:
    rng = np.random.default_rng(seed)
    canvas = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))
    return Reconstruction(
        object=canvas.astype(np.complex64),
        origin_px=np.array([3, -2]),
        weight=rng.uniform(0, 2, (size, size)).astype(np.float32),
        probe=(np.ones((2, 16, 16)) * (5 + seed)).astype(np.complex64),
        positions_px=np.round(rng.uniform(10, 30, (40, 2))),
        losses=np.array([2.0, 1.0]),
        uncertainty=np.zeros((size, size), np.float32),
        provenance={"stages": [{"stage": "network"}], "fit": {"residual": 0.25}},
    )


def bundle(seed: int = 0) -> Bundle:
    rng = np.random.default_rng(seed)
    manifest = Manifest(
        backend="pytorch", config={}, versions={}, seed=seed, created="2026-01-01T00:00:00Z"
    )
    weights = {"a.weight": rng.normal(size=(8, 8)).astype(np.float32)}
    return Bundle(manifest, weights, np.ones((1, 32, 32), np.complex64))


@pytest.fixture(scope="module")
def scan() -> pp.Scan:
    return pp.simulate(N=32, patterns=36, photons=1e5, seed=5)


# --- one file -------------------------------------------------------------------------------------


def test_an_exclusive_file_is_written_by_one_of_two(tmp_path: Path) -> None:
    """Both had looked before there was a file."""
    target = tmp_path / "a.txt"
    with (
        pytest.raises(InputError, match="force=True"),
        atomic_path(target, force=False) as one,
    ):
        one.write_text("one")
        with atomic_path(target, force=False) as other:
            other.write_text("other")
    assert target.read_text() == "other"
    assert names(tmp_path) == {"a.txt"}


def test_a_failed_block_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(CannotWrite, match="No space"), atomic_path(target) as temporary:
        temporary.write_text("new")
        raise OSError(28, "No space left on device")
    assert target.read_text() == "old" and names(tmp_path) == {"a.txt"}


@pytest.mark.parametrize("moment", ["_lock", "_is_open_at", "_to_disk"])
def test_a_signal_at_any_moment_leaves_no_file(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled(*given: Any, **named: Any) -> None:
        raise Interrupted

    monkeypatch.setattr(atomic, moment, signalled)
    with pytest.raises(Interrupted), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert not names(tmp_path)


def test_a_link_to_nowhere_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError), atomic_path(tmp_path / "a.txt", force=False) as temporary:
        temporary.write_text("new")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_device_is_no_output(tmp_path: Path) -> None:
    """Renamed into its place, a file would be where it was."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe or device"), atomic_path(tmp_path / "pipe"):
        raise AssertionError
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_names_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 200 + "." + "y" * 54)
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
    assert target.read_text() == "whole"


def test_a_pair_is_written_together_or_not_at_all(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    b.write_text("old b")
    with pytest.raises(InputError), atomic_paths(a, b, force=False) as temporaries:
        for temporary in temporaries:
            temporary.write_text("new")
    assert names(tmp_path) == {"b"} and b.read_text() == "old b"
    with atomic_paths(a, b) as temporaries:
        for temporary in temporaries:
            temporary.write_text("new")
    assert a.read_text() == b.read_text() == "new" and names(tmp_path) == {"a", "b"}


def test_rights_follow_the_mask_of_the_user(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


# --- dead and living processes --------------------------------------------------------------------

HOLDS = """
import sys, time
from ptychopinn.io.atomic import atomic_path, claimed, replacing
from pathlib import Path
target = Path(sys.argv[1])
with claimed(target.parent), replacing(target.parent, ["b"]), atomic_path(target):
    print("ready", flush=True)
    time.sleep(600)
"""


def test_what_a_dead_process_left_is_swept_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    command = python(HOLDS, folder / "a.h5")
    try:
        assert command.stdout is not None and command.stdout.readline() == "ready\n"
        before = names(folder)
        assert sum(name.startswith(TEMPORARY) for name in before) == 2 and LOCK in before
        with pytest.raises(InputError, match="one command at a time"), claimed(folder):
            pass
        with atomic_path(folder / "c") as temporary:
            temporary.write_text("c")
        assert names(folder) == before | {"c"}
    finally:
        command.kill()
        command.communicate()
    # A single file sweeps single files; who owns the folder sweeps all.
    with atomic_path(folder / "c") as temporary:
        temporary.write_text("c")
    assert not list(folder.glob(f"{TEMPORARY}*.h5"))
    with claimed(folder):
        pass
    assert names(folder) == {"c"}


def test_files_of_others_are_not_swept(tmp_path: Path) -> None:
    (tmp_path / ".new").write_text("mine")
    (tmp_path / f"{TEMPORARY}link").symlink_to(tmp_path / ".new")
    with claimed(tmp_path), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("a")
    assert (tmp_path / ".new").read_text() == "mine"


def test_a_link_to_what_is_not_there_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("gone")
    with (
        pytest.raises(InputError, match="received: a link to 'gone', which is not there; choose"),
        claimed(tmp_path / "out"),
    ):
        pass


def test_a_folder_that_stays_empty_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="refused"), claimed(tmp_path / "a/b/c"):
        raise InputError("refused")
    assert names(tmp_path) == set()


SAVES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_files import bundle
from ptychopinn.io.models import save_bundle
from ptychopinn.errors import InputError
seed = int(sys.argv[3])
made = bundle(seed)
print("ready", flush=True)
sys.stdin.readline()
try:
    save_bundle(made, sys.argv[2])
except InputError as error:
    sys.exit(str(error))
"""


def test_of_two_models_saved_at_once_one_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "wts.h5.zip"
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", SAVES, str(Path(__file__).parent), str(target), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    for command in commands:
        assert command.stdout is not None and command.stdout.readline() == "ready\n"
    for command in commands:
        assert command.stdin is not None
        command.stdin.write("\n")
        command.stdin.flush()
    errors = [command.communicate()[1] for command in commands]
    codes = [command.returncode for command in commands]
    assert sorted(codes) == [0, 1], errors
    assert load_bundle(target).manifest.seed == 1 + codes.index(0)


# --- a folder -------------------------------------------------------------------------------------


def test_results_are_swapped_in_whole(tmp_path: Path) -> None:
    for name in ("main", "picture", "foreign"):
        (tmp_path / name).write_text("old")
    with pytest.raises(RuntimeError), replacing(tmp_path, ["main", "picture", "log"]) as new:
        (new / "main").write_text("new")
        raise RuntimeError
    assert names(tmp_path) == {"main", "picture", "foreign"}
    assert (tmp_path / "main").read_text() == "old"
    with replacing(tmp_path, ["main", "picture", "log"]) as new:
        (new / "log").write_text("new")
        (new / "main").write_text("new")
    assert names(tmp_path) == {"main", "log", "foreign"}
    assert (tmp_path / "main").read_text() == (tmp_path / "log").read_text() == "new"


# --- HDF5 -----------------------------------------------------------------------------------------


def test_equal_scans_give_equal_bytes(tmp_path: Path, scan: pp.Scan) -> None:
    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    pp.save_scan(scan, first)
    started = int(time.time())
    while int(time.time()) == started:
        time.sleep(0.05)
    pp.save_scan(scan, second)
    assert first.read_bytes() == second.read_bytes()
    for name in ("pair", "file.cxi", "x_dp.hdf5", "product.h5"):
        for k, source in enumerate((first, second)):
            convert(source, tmp_path / str(k) / name)
    started = [p for p in sorted((tmp_path / "0").rglob("*")) if p.is_file()]
    assert len(started) == 6
    for path in started:
        other = tmp_path / "1" / path.relative_to(tmp_path / "0")
        assert path.read_bytes() == other.read_bytes(), path


def test_every_number_is_checksummed(tmp_path: Path, scan: pp.Scan) -> None:
    pp.save_scan(scan, tmp_path / "a.h5")
    result().save(tmp_path / "r.h5")
    for name in ("pair", "file.cxi", "x_dp.hdf5"):
        convert(tmp_path / "a.h5", tmp_path / name)

    def check(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind != "O" and item.size:
            compact = item.id.get_create_plist().get_layout() == h5py.h5d.COMPACT
            assert compact or (item.fletcher32 and item.compression == "gzip"), name

    files = [p for p in tmp_path.rglob("*") if p.suffix in (".h5", ".cxi", ".hdf5")]
    assert len(files) == 7
    for path in files:
        with h5py.File(path) as file:
            file.visititems(check)


def test_more_counts_than_whole_numbers_hold(tmp_path: Path) -> None:
    many = result()
    probe = many.probe * np.float32(1e9)
    bright = Reconstruction(many.object, many.origin_px, many.weight, probe, many.positions_px)
    bright.save(tmp_path / "r.h5")
    assert np.array_equal(load_reconstruction(tmp_path / "r.h5").probe, probe)


TARGETS = (
    "a.h5", "file.npz", "pair", "x_dp.hdf5", "file.cxi", "product.h5", "product.npz", "result.h5",
    "wts.h5.zip",
)  # fmt: skip
# One process that has imported all there is writes each target in children, which end as any
# process does: the first as it likes, the others where files may have so many bytes only, which is
# a full disk that needs no rights.
WRITES = """
import json, os, resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_files
from ptychopinn.errors import InputError
from ptychopinn.io.convert import convert

def write(source, target):
    if target.name == "result.h5":
        test_files.result(1).save(target, force=True)
    elif target.suffix == ".zip":
        test_files.save_bundle(test_files.bundle(1), target, force=True)
    else:
        convert(source, target, force=True)

def in_child(source, target, limit=None):
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writes, 1), os.dup2(writes, 2), os.close(reads), os.close(writes)
        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            # Python would keep what it compiles cut short, for all processes to come.
            sys.dont_write_bytecode = True
        try:
            write(source, target)
        except InputError as error:
            print(error)
            sys.exit(2)
        sys.exit(0)
    os.close(writes)
    with open(reads) as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text

source, seen = Path(sys.argv[2]), {}
for name in test_files.TARGETS:
    target = source.parent / name.replace(".", "-") / name
    runs = [(None, *in_child(source, target), True)]
    before = test_files.contents(target.parent)
    whole = min(map(len, before.values()), default=0)
    for limit in (0, 700, whole // 2, whole - 3):
        ended = in_child(source, target, limit)
        runs.append((limit, *ended, test_files.contents(target.parent) == before))
    seen[name] = runs
print(json.dumps(seen))
"""


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def full_disks(tmp_path_factory: pytest.TempPathFactory, scan: pp.Scan) -> dict[str, list[Any]]:
    """For each target: size of the disk, exit code, what was said, whether all stayed as it was."""
    source = tmp_path_factory.mktemp("disks") / "source.h5"
    pp.save_scan(scan, source)
    command = python(WRITES, Path(__file__).parent, source)
    out, err = command.communicate()
    assert (command.returncode, err) == (0, "")
    seen: dict[str, list[Any]] = json.loads(out)
    return seen


@pytest.mark.parametrize("target", TARGETS)
def test_a_full_disk_is_one_sentence_and_loses_nothing(
    target: str, full_disks: dict[str, list[Any]]
) -> None:
    """At every size at which the disk may be full."""
    first, *others = full_disks[target]
    assert first == [None, 0, "", True]
    assert len(others) == 4
    for limit, code, said, unchanged in others:
        assert code == 2, (limit, said)
        assert said.count("\n") == 1 and "File too large" in said, (limit, said)
        assert unchanged, limit


INTERRUPTED = """
import signal, sys
from pathlib import Path
import numpy as np
from ptychopinn.io.hdf5_writer import writing
class Stop(BaseException): pass
def stop(*_): raise Stop
signal.signal(signal.SIGALRM, stop)
values = np.random.default_rng(0).normal(size=(60, 64, 64))
rng, stopped = np.random.default_rng(1), 0
for _ in range(60):
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.002, 0.08))
        with writing(Path(sys.argv[1])) as file:
            stored = file.reserve("d", values.shape, "f8")
            for k in range(60):
                stored[k] = values[k]
                file.check()
            file.put("z", values)
        signal.pause()
    except Stop:
        stopped += 1
print(stopped)
"""


def test_a_signal_while_hdf5_writes(tmp_path: Path) -> None:
    """In the midst of HDF5 an exception would end in a crash of the process."""
    command = python(INTERRUPTED, tmp_path / "a.h5")
    out, err = command.communicate()
    assert (command.returncode, out, err) == (0, "60\n", "")
    assert names(tmp_path) <= {"a.h5"}


# --- bits that flip -------------------------------------------------------------------------------


def _mutations(content: bytes, seed: int, count: int) -> list[bytes]:
    """Single bits, runs of 0x00 and 0xff, exchanged blocks, cut ends."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        changed = bytearray(content)
        at = int(rng.integers(len(content)))
        kind = rng.choice(["bit", "bit", "zeros", "ones", "swap", "cut"])
        if kind == "bit":
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind in ("zeros", "ones"):
            length = int(rng.choice([1, 2, 8, 64]))
            changed[at : at + length] = (b"\0" if kind == "zeros" else b"\xff") * length
            del changed[len(content) :]
        elif kind == "swap":
            other = int(rng.integers(len(content) - 16))
            at = min(at, len(content) - 16)
            changed[at : at + 16], changed[other : other + 16] = (
                changed[other : other + 16], changed[at : at + 16],
            )  # fmt: skip
        else:
            del changed[at:]
        if bytes(changed) != content:
            found.append(bytes(changed))
    return found


def _scan_numbers(path: Path) -> list[object]:
    read = pp.load_scan(path)
    arrays = (read.diffraction, read.positions_px, read.probe, read.object, read.mask)
    numbers = [None if a is None else np.asarray(a).tobytes() for a in arrays]
    return [*numbers, read.pixel_size_m, read.energy_eV, read.distance_m]


def _result_numbers(path: Path) -> list[object]:
    read = load_reconstruction(path)
    fields = ("object", "origin_px", "weight", "probe", "positions_px", "losses", "uncertainty")
    numbers = [np.asarray(getattr(read, field)).tobytes() for field in fields]
    provenance = dict(read.provenance)
    return [*numbers, read.pixel_size_m, read.energy_eV, read.distance_m, provenance]


def _bundle_numbers(path: Path) -> list[object]:
    read = load_bundle(path)
    return [read.manifest, {k: v.tobytes() for k, v in read.weights.items()}, read.probe.tobytes()]


KINDS = {
    "scan.h5": _scan_numbers,
    "measured.h5": _scan_numbers,
    "scan.cxi": _scan_numbers,
    "reconstruction.h5": _result_numbers,
    "wts.h5.zip": _bundle_numbers,
}


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_refused_or_gives_the_same_numbers(
    name: str, tmp_path: Path, scan: pp.Scan
) -> None:
    path = tmp_path / name
    if name == "scan.h5":
        pp.save_scan(scan, path)
    elif name == "measured.h5":
        noisy = scan.diffraction[:] * np.float32(1.5)
        pp.save_scan(pp.Scan(noisy, scan.positions_px, scan.probe, mask=scan.good_pixels,
                             energy_eV=8e3, distance_m=1.0, pixel_size_m=1e-8), path)  # fmt: skip
    elif name == "scan.cxi":
        pp.save_scan(scan, tmp_path / "a.h5")
        convert(tmp_path / "a.h5", path, pixel_size_m=1e-8, energy_eV=8e3, distance_m=1.0)
    elif name == "reconstruction.h5":
        result().save(path)
    else:
        save_bundle(bundle(), path)
    numbers, content = KINDS[name](path), path.read_bytes()
    refused = 0
    for mutation in _mutations(content, 11, 300):
        path.write_bytes(mutation)
        try:
            read = KINDS[name](path)
        except InputError:
            refused += 1
            continue
        assert read == numbers
    assert refused > 150


@pytest.mark.parametrize("kind", ["scan", "result"])
@pytest.mark.parametrize("length", [2000, 20_000, 59_000, 70_000, 2_000_000])
def test_a_flipped_bit_in_a_long_provenance_is_noticed(
    kind: str, length: int, tmp_path: Path, scan: pp.Scan
) -> None:
    """Also beside so many other numbers that HDF5 would keep attributes apart."""
    words = "".join(chr(97 + k % 26) for k in range(length))
    read: Callable[[Path], Any]
    if kind == "scan":
        given = {"pixel_size_m": 1e-8, "energy_eV": 8e3, "distance_m": 1.0, "saturation": 1e6}
        near = {"propagation": "near-field", "focus_distance_m": 0.5}
        whole: Any = replace(scan, provenance={"note": words}, **given, **near)
        path, read = pp.save_scan(whole, tmp_path / "a.h5"), pp.load_scan
    else:
        whole = replace(result(), provenance={"note": words})
        path, read = whole.save(tmp_path / "a.h5"), load_reconstruction
    assert read(path).provenance["note"] == words
    content = path.read_bytes()
    ends = [content.find(words[:26].encode()), content.rfind(words[-1000:-900].encode())]
    for at in ends if ends[0] >= 0 else range(len(content) // 4, len(content), 997):
        damaged = bytearray(content)
        damaged[at + 3] ^= 1
        path.write_bytes(damaged)
        try:
            assert read(path).provenance["note"] == words
        except InputError:
            pass
        else:
            assert ends[0] < 0  # compressed, so that other things lie there


def test_a_killed_writer_leaves_the_old_pair_or_none(tmp_path: Path, scan: pp.Scan) -> None:
    """Killed anywhere while it writes again and again; files of two writers are told apart."""
    pp.save_scan(scan, tmp_path / "a.h5")
    other = pp.simulate(N=32, patterns=36, photons=1e5, seed=6)
    pp.save_scan(other, tmp_path / "b.h5")
    loop = """
import sys
from ptychopinn.io.convert import convert
for k in range(100000):
    convert(sys.argv[1 + k % 2], sys.argv[3], force=True)
    if not k:
        print("ready", flush=True)
"""
    target = tmp_path / "out"
    wanted = [_scan_numbers(tmp_path / name)[:3] for name in ("a.h5", "b.h5")]
    rng = np.random.default_rng(3)
    for _ in range(4):
        command = python(loop, tmp_path / "a.h5", tmp_path / "b.h5", target)
        assert command.stdout is not None and command.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0, 0.1))
        command.send_signal(signal.SIGKILL)
        command.communicate()
        try:
            found = _scan_numbers(target)
        except InputError:
            continue
        assert found[0] in [numbers[0] for numbers in wanted]


@pytest.mark.parametrize("kind", ["ptychodus", "fold_slice"])
def test_files_of_two_scans_are_no_pair(kind: str, tmp_path: Path, scan: pp.Scan) -> None:
    other = pp.simulate(N=32, patterns=36, photons=1e5, seed=6)
    name = {"ptychodus": "x", "fold_slice": "x_dp.hdf5"}[kind]
    for label, chosen in (("a", scan), ("b", other)):
        pp.save_scan(chosen, tmp_path / f"{label}.h5")
        convert(tmp_path / f"{label}.h5", tmp_path / label / name, to=kind)  # type: ignore[arg-type]
    second = {"ptychodus": "x/product.h5", "fold_slice": "x_para.hdf5"}[kind]
    (tmp_path / "b" / second).replace(tmp_path / "a" / second)
    target = tmp_path / "again.h5"
    with pytest.raises(InputError, match="two different scans"):
        convert(tmp_path / "a" / name, target)
    # A file of another program says nothing.
    with h5py.File(tmp_path / "a" / second, "r+") as file:
        del file.attrs["ptychopinn_pair"]
    convert(tmp_path / "a" / name, target)


def test_writing_again_in_the_same_name_is_refused_without_force(tmp_path: Path) -> None:
    with pytest.raises(InputError), writing(tmp_path / "a.h5", force=False) as file:
        file.put("x", [1.0])
        (tmp_path / "a.h5").write_text("first")
    assert (tmp_path / "a.h5").read_text() == "first"
