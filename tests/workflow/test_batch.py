"""Many scans by one command: folders, tables, what is there already, what fails, what dies."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import h5py
import numpy as np
import pytest
from training_commands import check_sentence, files, finished, process, read_json

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.data.fingerprint import fingerprint, identity_of
from ptychopinn.errors import InputError
from ptychopinn.machine.cluster import Where
from ptychopinn.physics.axes import ScanAxes
from ptychopinn.workflows.batch_orders import names_of
from ptychopinn.workflows.batch_work import with_axes

pytest.importorskip("distributed", reason="many scans need distributed: the extra batch")

SINGLE = {"reconstruction.h5", "reconstructed_amplitude.png", "reconstructed_phase.png",
          "run.json", "log.txt", "report.html"}  # fmt: skip
# What a scan costs is no matter here: no framework that workers would have to load, few passes.
NUMPY = ["--backend", "numpy"]
QUICK = ["--verb", "refine", "--passes", "4", "--no-mend", "all", *NUMPY]
FEW: dict[str, Any] = {
    "verb": "refine", "config": pp.PhysicsConfig(passes=4), "no_mend": "all", "backend": "numpy",
    "workers": 1,
}  # fmt: skip


def batch(*arguments: Any) -> int:
    """The command in this process; the exit code."""
    return run(["batch", *map(str, arguments)])


def rows(output: Path) -> dict[str, dict[str, str]]:
    with (output / "batch.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


class _Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(output: Path) -> _Page:
    return _Page((output / "batch.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def done(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans and a faulty one, reconstructed once: DIR with a, b, out."""
    folder = tmp_path_factory.mktemp("batch")
    for name in "ab":
        shutil.copy(scans / f"{name}.h5", folder)
    (folder / "faulty.h5").write_bytes(b"no scan")
    names = [folder / f"{name}.h5" for name in ("a", "faulty", "b")]
    # Another program may have the port that Dask likes best.
    with socket.socket() as taken:
        with suppress(OSError):
            taken.bind(("", 8787))
            taken.listen()
        command = process("batch", *names, "-o", folder / "out", *NUMPY, "--json")
        code, out, err = finished(command)
    assert code == 3, err
    assert "8787" not in err
    assert "Traceback" not in err
    (folder / "out.json").write_text(out)
    return folder


def test_a_faulty_scan_fails_alone(done: Path) -> None:
    """The others have the files of the single command, and nothing else is in the folder."""
    output = done / "out"
    assert {p.name for p in output.iterdir()} == {"a", "b", "batch.csv", "batch.html"}
    assert files(output / "a") == files(output / "b") == SINGLE
    table = rows(output)
    assert list(table) == ["a", "faulty", "b"]
    assert [table[n]["verdict"] for n in table] == ["good", "failed", "good"]
    assert "none of them" in table["faulty"]["error"] and table["faulty"]["residual"] == ""
    printed = json.loads((done / "out.json").read_text())
    assert [row["verdict"] for row in printed["scans"]] == ["good", "failed", "good"]
    assert printed["summary"] == "3 scans: 2 good, 1 failed"


def test_the_result_is_that_of_the_single_command(done: Path, tmp_path: Path) -> None:
    assert run(["reconstruct", str(done / "a.h5"), "-o", str(tmp_path / "r"), *NUMPY]) == 0
    one, other = (pp.load_reconstruction(f) for f in (tmp_path / "r", done / "out/a"))
    np.testing.assert_allclose(one.object, other.object, rtol=1e-4, atol=1e-5)
    records = [read_json(f / "run.json") for f in (tmp_path / "r", done / "out/a")]
    assert set(records[1]) - set(records[0]) == {"batch"} and set(records[0]) <= set(records[1])
    assert records[0]["scan_fingerprint"] == records[1]["scan_fingerprint"]
    # The command that would have made this one alone.
    assert records[1]["command"][:2] == ["batch", str(done / "a.h5")]
    assert str(done / "b.h5") not in records[1]["command"]
    lines = [(f / "log.txt").read_text() for f in (tmp_path / "r", done / "out/a")]
    assert all("good fit: residual" in text for text in lines)


def test_the_page_needs_nothing_else(done: Path) -> None:
    found = page(done / "out")
    pictures = [about["src"] for tag, about in found.tags if tag == "img"]
    assert len(pictures) == 2
    assert all(src is not None and src.startswith("data:image/png;base64,") for src in pictures)
    links = [about["href"] for tag, about in found.tags if tag == "a"]
    assert links == ["./a/report.html", "./a/", "./b/report.html", "./b/"]
    assert not {tag for tag, _ in found.tags} & {"script", "link", "iframe"}
    assert "none of them" in found.text


def test_only_what_is_missing_is_computed(done: Path, scans: Path, tmp_path: Path) -> None:
    """One is there; of one a power failure has left a part while its files took their places; and
    of one there is the result of another scan of this name."""
    output = tmp_path / "out"
    shutil.copytree(done / "out/a", output / "a")
    shutil.copytree(done / "out/b", output / "c")
    (output / "b/.ptychopinn-new-0123456789ab").mkdir(parents=True)
    shutil.copy(done / "out/b/reconstruction.h5", output / "b")
    shutil.copy(scans / "a.h5", tmp_path / "c.h5")
    before = {p: p.stat().st_mtime_ns for name in "ac" for p in (output / name).iterdir()}
    names = [done / "a.h5", done / "b.h5", tmp_path / "c.h5"]
    assert batch(*names, "-o", output, "--quiet", *NUMPY, "--workers", "1") == 3
    after = {p: p.stat().st_mtime_ns for name in "ac" for p in (output / name).iterdir()}
    assert after == before
    assert files(output / "b") == SINGLE
    table = rows(output)
    assert [row["kept"] for row in table.values()] == ["True", "False", "False"]
    assert [row["verdict"] for row in table.values()] == ["good", "good", "failed"]
    error = table["c"]["error"]
    assert "counts and positions differ" in error or "counts differ" in error
    assert "--force" in error
    assert batch(done / "a.h5", "-o", output, "--quiet", "--force", *NUMPY, "--workers", "1") == 0
    assert rows(output)["a"]["kept"] == "False"
    assert {p: p.stat().st_mtime_ns for p in (output / "a").iterdir()}.items().isdisjoint(
        before.items()
    )


def test_a_folder_with_something_else_is_refused(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results of other options, or of another command: before anything is computed."""
    output = tmp_path / "out"
    shutil.copytree(done / "out", output)
    assert batch(done / "a.h5", "-o", output, *NUMPY, "--refine", "never") == 2
    check_sentence(capsys.readouterr().err, "where refine were others", "--force")
    record = read_json(output / "a/run.json")
    del record["batch"]
    (output / "a/run.json").write_text(json.dumps(record))
    before = {p: p.read_bytes() for p in output.rglob("*") if p.is_file()}
    assert batch(done / "a.h5", "-o", output, *NUMPY) == 2
    check_sentence(capsys.readouterr().err, "must not hold earlier results", "--force")
    assert {p: p.read_bytes() for p in output.rglob("*") if p.is_file()} == before


def children(of: int) -> set[int]:
    """Processes that this one started and their children, by their ids."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True)
    parents = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    found, new = set[int](), {of}
    while new:
        new = {pid for pid, parent in parents if parent in new} - found
        found |= new
    return found


def working(command: subprocess.Popen[str], output: Path) -> int:
    """The process that writes into a folder of a scan, once there is one: it holds its lock."""
    end = time.monotonic() + 100
    while time.monotonic() < end:
        assert command.poll() is None, finished(command)
        for lock in output.glob("*/.ptychopinn-lock"):
            for pid in children(command.pid):
                held = Path(f"/proc/{pid}/fd")
                try:
                    if any(fd.resolve() == lock for fd in held.iterdir()):
                        return pid
                except OSError:
                    continue
        time.sleep(0.01)
    command.kill()
    pytest.fail("no worker began within 100 s")


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="which process works is looked up in /proc"
)


@needs_proc
def test_a_killed_worker_is_replaced(scans: Path, tmp_path: Path) -> None:
    options = [*QUICK, "--passes", "60", "--stagnation", "0", "--workers", "1"]
    command = process(
        "batch", scans / "a.h5", scans / "b.h5", "-o", tmp_path / "out", *options, "--quiet"
    )
    os.kill(working(command, tmp_path / "out"), signal.SIGKILL)
    code, _, err = finished(command)
    assert code in (0, 3), err
    assert "Traceback" not in err
    assert {row["error"] for row in rows(tmp_path / "out").values()} == {""}
    assert files(tmp_path / "out/a") == files(tmp_path / "out/b") == SINGLE
    assert not list((tmp_path / "out").glob(".*"))


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_batch_keeps_what_is_finished(
    number: signal.Signals, scans: Path, tmp_path: Path
) -> None:
    """The signal goes to the group, as a terminal and batch systems send it; SIGKILL to the
    command alone, whose workers then end too. Started again, it computes the rest."""
    output, many = tmp_path / "out", [tmp_path / f"{k}.h5" for k in range(4)]
    for path in many:
        shutil.copy(scans / "a.h5", path)
    line = ["batch", *many, "-o", output, *QUICK, "--workers", "1"]
    command = process(*line, start_new_session=True)
    end = time.monotonic() + 100
    while not files(output / "0") >= SINGLE and time.monotonic() < end:
        assert command.poll() is None, finished(command)
        time.sleep(0.01)
    workers = children(command.pid)
    assert workers
    if number == signal.SIGKILL:
        command.kill()
    else:
        os.killpg(command.pid, number)
    code, _, err = finished(command)
    assert code == (-9 if number == signal.SIGKILL else 128 + number), err
    assert "Traceback" not in err
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < end, "a worker outlived the command"
        time.sleep(0.05)
    whole = {path.name for path in output.iterdir() if files(path) >= SINGLE}
    assert "0" in whole
    if number != signal.SIGKILL:
        assert set(rows(output)) <= whole
        assert {p.name for p in output.iterdir()} == {*whole, "batch.csv", "batch.html"}
    times = {name: (output / name / "run.json").stat().st_mtime_ns for name in whole}
    code, _, err = finished(process(*line))
    assert code in (0, 3), err
    assert times == {name: (output / name / "run.json").stat().st_mtime_ns for name in whole}
    table = rows(output)
    assert {name for name, row in table.items() if row["kept"] == "True"} == whole
    assert all(files(output / name) == SINGLE for name in table) and len(table) == 4


def test_hostile_names_do_no_harm(scans: Path, tmp_path: Path) -> None:
    """Markup, quotes, line ends, a colon, what is no UTF-8: all in the page and the folders."""
    names = [
        "<img src=x onerror=alert(1)>", "a&b \"c\" 'd'", "java:script", "two\nlines", "--force",
        os.fsdecode(b"\xff\xfe"), "[bold]", "#frag?x=%41",
    ]  # fmt: skip
    folder = tmp_path / "in"
    folder.mkdir()
    for name in names:
        (folder / f"{name}.h5").write_bytes(b"no scan")
    shutil.copy(scans / "a.h5", folder / f"{names[0]}.h5")
    shutil.copy(scans / "a.h5", folder / f"{names[5]}.h5")
    shutil.copy(scans / "a.h5", folder / f"{names[7]}.h5")
    paths = [folder / f"{name}.h5" for name in names]
    found = pp.reconstruct_many(paths, tmp_path / "out", **FEW)
    assert [row["verdict"] == "failed" for row in found.rows] == [
        k not in (0, 5, 7) for k in range(8)
    ]
    shown = page(tmp_path / "out")
    assert not [about for tag, about in shown.tags if "onerror" in about or tag == "script"]
    assert sum(tag == "img" for tag, _ in shown.tags) == 3
    assert names[0] in shown.text and names[1] in shown.text and "\\udcff\\udcfe" in shown.text
    links = [about["href"] or "" for tag, about in shown.tags if tag == "a"]
    for link in links:
        assert link.startswith("./") and "?" not in link and "#" not in link
        inside = os.fsencode(tmp_path / "out") + b"/" + unquote_to_bytes(link[2:])
        place = Path(os.fsdecode(inside))
        assert place.is_file() if place.name == "report.html" else place.is_dir()
    alone = (tmp_path / "out" / names[0] / "report.html").read_text(encoding="utf-8")
    assert "<img" not in alone
    assert len(rows(tmp_path / "out")) == 8


def test_a_shared_probe_starts_the_others(scans: Path, tmp_path: Path) -> None:
    """The first scan is tried and does not fit, the second does, the last starts with its probe."""
    scan = pp.load_scan(scans / "b.h5")
    y, x = np.indices((scan.N, scan.N)) - scan.N / 2
    wrong = (scan.probe * np.exp(0.1j * (y**2 + x**2))).astype(np.complex64)
    for name in "xyz":
        probe = scan.probe if name == "y" else wrong
        pp.save_scan(replace(scan, probe=probe, object=None), tmp_path / f"{name}.h5")
    paths = [tmp_path / f"{name}.h5" for name in "xyz"]
    options = {**FEW, "config": pp.PhysicsConfig(passes=15), "share": "probe"}
    shared = pp.reconstruct_many(paths, tmp_path / "shared", **options)
    assert [row["started_from"] for row in shared.rows] == [
        None, None, str(tmp_path / "shared/y"),
    ]  # fmt: skip
    assert [row["verdict"] == "good" for row in shared.rows] == [False, True, True]
    # What is there keeps its start, and what is missing gets the same.
    shutil.rmtree(tmp_path / "shared/z")
    again = pp.reconstruct_many(paths, tmp_path / "shared", **options)
    assert [row["kept"] for row in again.rows] == [True, True, False]
    assert again.rows[2]["residual"] == pytest.approx(shared.rows[2]["residual"], rel=1e-3)


def test_shared_axes_turn_the_positions() -> None:
    scan = pp.simulate(N=32, patterns=30, seed=1)
    axes = ScanAxes(3.0, 0.02, -0.01, 0.005)
    given = replace(scan, positions_px=axes.applied(scan.positions_px), object=None)
    mended = with_axes(given, axes, "first")
    np.testing.assert_allclose(mended.positions_px, scan.positions_px, atol=1e-9)
    findings = mended.provenance["findings"]
    assert [found["name"] for found in findings] == ["scan-axes"]
    # It stays the scan that it was.
    assert identity_of(mended) == fingerprint(given)


def test_raw_data_by_a_recipe(scans: Path, tmp_path: Path) -> None:
    """The scan that was made is beside its result, where refine finds it; a changed file is not
    taken for the one that was there."""
    scan = pp.load_scan(scans / "a.h5")
    for name in "ab":
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["frames"] = np.asarray(scan.diffraction)
            file["yx"] = scan.positions_px
    (tmp_path / "recipe.yaml").write_text("patterns: frames\npositions: yx\nunit: px\norder: yx\n"
                                          f"probe: {scans / 'a.h5'}:probe\n")  # fmt: skip
    line = [tmp_path / "a.h5", tmp_path / "b.h5", "-o", tmp_path / "out", "--quiet",
            "--recipe", tmp_path / "recipe.yaml", "--workers", "1", *QUICK]  # fmt: skip
    assert batch(*line) in (0, 3)
    assert {row["error"] for row in rows(tmp_path / "out").values()} == {""}
    assert files(tmp_path / "out/a") == {*SINGLE, "scan.h5"}
    refined = ["refine", tmp_path / "out/a", "-o", tmp_path / "r", "--passes", "2", *NUMPY]
    refined += ["--no-mend", "all"]
    assert run([str(word) for word in refined]) in (0, 3)
    os.utime(tmp_path / "b.h5", ns=(1, 1))
    assert batch(*line) == 3
    table = rows(tmp_path / "out")
    assert table["a"]["kept"] == "True" and "raw files differ" in table["b"]["error"]
    # Whoever replaces it and fails has changed nothing: here the probe is gone when all is read.
    before = {name: (tmp_path / "out/a" / name).read_bytes() for name in files(tmp_path / "out/a")}
    given = tmp_path / "out/a/scan.h5"
    assert pp.load_reconstruction(tmp_path / "out/a").provenance["scan"]["file"] == str(given)
    assert batch(*line, "--probe", tmp_path / "no.h5", "--force") == 3
    assert "no.h5" in rows(tmp_path / "out")["a"]["error"]
    assert before == {
        name: (tmp_path / "out/a" / name).read_bytes() for name in files(tmp_path / "out/a")
    }


def test_a_prepared_scan_takes_no_other_file(scans: Path, tmp_path: Path) -> None:
    """Neither somebody's own scan.h5, which raw data know nothing of."""
    scan = pp.load_scan(scans / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["frames"], file["yx"] = np.asarray(scan.diffraction), scan.positions_px
    (tmp_path / "out/a").mkdir(parents=True)
    own = tmp_path / "out/a/scan.h5"
    for content in (b"my own", (scans / "b.h5").read_bytes()):
        own.write_bytes(content)
        recipe = {"patterns": "frames", "positions": "yx", "unit": "px", "order": "yx",
                  "probe": f"{scans / 'a.h5'}:probe"}  # fmt: skip
        found = pp.reconstruct_many(
            [tmp_path / "a.h5"], tmp_path / "out", **{**FEW, "recipe": recipe, "workers": 1}
        )
        assert "was not made of" in str(found.rows[0]["error"])
        assert own.read_bytes() == content


def test_workers_of_a_scheduler_that_is_there(scans: Path, tmp_path: Path) -> None:
    """A scheduler, and one worker with threads of its own, as on a cluster."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    address = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
            "--port", "0", "--no-dashboard", "--scheduler-file", str(address)]  # fmt: skip
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file",
              str(address), "--nthreads", "2", "--no-dashboard",
              "--local-directory", str(tmp_path / "scratch")]  # fmt: skip
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = subprocess.Popen(dask, env=environment, **quiet)
    second = subprocess.Popen(worker, env=environment, **quiet)
    try:
        end = time.monotonic() + 60
        while not address.exists() and time.monotonic() < end:
            time.sleep(0.05)
        where = str(address)
        found = pp.reconstruct_many(
            [scans / "a.h5", scans / "b.h5"], tmp_path / "out",
            **{**FEW, "scheduler": where, "workers": None},
        )  # fmt: skip
        assert [row["error"] for row in found.rows] == [None, None]
        assert read_json(tmp_path / "out/a/run.json")["execution"]["threads"] == 2
        # They are not ours: they go on.
        assert first.poll() is None and second.poll() is None
    finally:
        for process_ in (second, first):
            process_.terminate()
            process_.wait(30)


def test_a_worker_that_dies_while_it_is_made_ready(scans: Path, tmp_path: Path) -> None:
    """What makes a worker ready is loaded there: the first of them dies of it."""
    (tmp_path / "deadly.py").write_text(
        "import os\n"
        "from multiprocessing import parent_process\n"
        "from pathlib import Path\n"
        "died = Path(__file__).with_name('died')\n"
        "if parent_process() is not None and not died.exists():\n"
        "    died.touch()\n"
        "    os.kill(os.getpid(), 9)\n"
        "def advice(likely, cause):\n"
        "    return cause or ''\n"
    )
    code = (
        "import ptychopinn as pp, deadly; from ptychopinn.workflows.batch import Voice;"
        f"b = pp.reconstruct_many([{str(scans / 'a.h5')!r}], 'out', verb='refine', workers=1,"
        "config=pp.PhysicsConfig(passes=4), no_mend='all', backend='numpy',"
        "voice=Voice(advice=deadly.advice)); assert b.rows[0]['error'] is None, b.rows"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "died").exists() and files(tmp_path / "out/a") == SINGLE


def test_slurm_is_that_of_dask_jobqueue(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cluster is asked for as many jobs as workers; here processes stand for them."""
    (tmp_path / "dask_jobqueue.py").write_text(
        "from distributed import LocalCluster\n"
        "class SLURMCluster(LocalCluster):\n"
        "    def __init__(self):\n"
        "        super().__init__(n_workers=0, threads_per_worker=1, dashboard_address=None,\n"
        "                         silence_logs=60)\n"
        "    def scale(self, jobs):\n"
        "        super().scale(jobs)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "dask_jobqueue", raising=False)
    found = pp.reconstruct_many([scans / "a.h5"], tmp_path / "out", slurm=True, **FEW)
    assert [row["error"] for row in found.rows] == [None]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--verb", "infer"], ["needs a model", "--model"]),
        (["--model", "pretrained"], ["--model", "infer"]),
        (["--passes", "3"], ["--passes", "--verb refine"]),
        (["--modes", "auto"], ["--modes auto", "--verb refine"]),
        (["--verb", "refine", "--refine", "always"], ["--refine", "reconstruct"]),
        (["--verb", "refine", "--positions-from", "2"], ["does nothing", "--refine-positions"]),
        (["--verb", "refine", "--modes", "2", "--no-refine-probe"], ["modes", "the probe"]),
        (["--share", "positions"], ["--share positions", "--refine-positions"]),
        (["--scheduler", "tcp://127.0.0.1:1", "--slurm"], ["leave one out"]),
        (["--scheduler", "tcp://127.0.0.1:1", "--workers", "2"], ["--workers"]),
        (["--slurm"], ["dask-jobqueue", "pip install 'ptychopinn[slurm]'"]),
        (["--scheduler", "nonsense://x"], ["scheduler of Dask must answer"]),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(
    options: list[str],
    words: list[str],
    scans: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if options == ["--slurm"]:
        sys.modules.pop("dask_jobqueue", None)
    assert batch(scans / "a.h5", "-o", tmp_path / "out", *options) == 2
    check_sentence(capsys.readouterr().err, *words)
    assert not (tmp_path / "out").exists()


def test_no_scan_and_one_named_twice(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch("-o", tmp_path / "out") == 2
    check_sentence(capsys.readouterr().err, "received none")
    assert batch(scans / "a.h5", scans / "a.h5", "-o", tmp_path / "out") == 2
    check_sentence(capsys.readouterr().err, "named once")


def test_names_of_folders() -> None:
    def named(*paths: str) -> list[str]:
        return names_of([Path(path) for path in paths])

    assert named("/d/one.h5", "/d/two.npz") == ["one", "two"]
    assert named("/d/1/scan.h5", "/d/2/scan.h5", "/d/x.h5") == ["1-scan", "2-scan", "x"]
    assert named("/d/2/scan.h5", "/d/x.h5", "/d/1/scan.h5") == ["2-scan", "x", "1-scan"]
    assert named("/a/1/scan.h5", "/b/1/scan.h5") == ["a-1-scan", "b-1-scan"]
    assert named("/d/scan.h5", "/d/scan.npz") == ["scan-h5", "scan-npz"]
    assert named("/d/Scan.h5", "/e/scan.h5") == ["d-Scan", "e-scan"]
    assert named("/d/.hidden", "/d/batch.csv.h5") == ["_hidden", "d-batch.csv"]
    with pytest.raises(InputError, match="told apart"):
        named("/batch.csv.h5")


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptychopinn.machine.cluster.available", lambda: 8)
    assert Where().shared(200) == (8, 1)
    assert Where().shared(2) == (2, 4)
    assert Where(workers=4).shared(200) == (4, 2)
    assert Where(workers=16).shared(200) == (16, 1)
    assert Where(workers=2, threads=1).shared(200) == (2, 1)
    with pytest.raises(InputError, match="workers must be"):
        Where(workers=0)


def test_nothing_of_dask_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    """Nor does a command without it show a traceback."""
    (tmp_path / "distributed.py").write_text("raise ImportError('not here')\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    code = "import sys, ptychopinn as pp; pp.Batch; from ptychopinn.cli import run;" \
        "assert run(['batch', '--help']) == 0; assert 'dask' not in sys.modules;" \
        "assert run(['batch', 'x.h5', '-o', 'out']) == 2"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    check_sentence(done.stderr, "pip install 'ptychopinn[batch]'")
    assert re.search(r"--share +\[nothing", done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux only")
def test_workers_need_a_folder_whose_name_is_text(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(pp.InputError, match="name is text"):
        pp.reconstruct_many([scans / "a.h5"], tmp_path / os.fsdecode(b"b\xff"), **FEW)
    assert not list(tmp_path.iterdir())
