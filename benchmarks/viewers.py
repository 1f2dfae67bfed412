"""How late viewers of ``ptychopinn serve`` see the object of a job that runs.

    python benchmarks/viewers.py [--viewers 20] [--patterns 2000] [--size 64] [--passes 30]
    python benchmarks/viewers.py --epochs 5 [--patterns 400]
    python benchmarks/viewers.py --canvas 1000
    python benchmarks/viewers.py --canvas 1000 --price
    python benchmarks/viewers.py --cost [--rounds 3]

Many WebSockets watch one job, a refinement or with ``--epochs`` a training, and what it shows and
says goes to all of them. The delay is from when the job wrote a picture until a viewer has a part
of it. With ``--canvas`` the job is this
script, which shows objects of that size that change everywhere, as often as a job may; with
``--price`` as well nobody watches: the seconds of a core that one such picture takes in the job and
in the server, which packs it once for all viewers. With ``--cost`` nobody watches either: the
seconds of all cores that a refinement takes, and those of them that go into showing it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.sync.client import connect

import ptychopinn as pp
from ptychopinn.contracts import Glance, Looked, Silent, Solved, Step
from ptychopinn.data.normalization import prepare
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.report.live_picture import LivePicture
from ptychopinn.serving.live_tiles import LiveTiles
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver

# The number of the job that this script is; no other has it.
OWN, OWN_S = 1_000_000, 20.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--patterns", type=int, default=2000)
    parser.add_argument("--size", type=int, default=64, help="N of the patterns")
    parser.add_argument("--passes", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=0, help="of a training in place of passes")
    parser.add_argument("--canvas", type=int, default=0, help="side of an object that is shown")
    parser.add_argument("--price", action="store_true", help="what a picture of --canvas costs")
    parser.add_argument("--cost", action="store_true", help="what showing costs the computation")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.price:
            price(options.canvas or 1000, folder / "now.live")
            return
        scan = pp.simulate(N=options.size, patterns=options.patterns, photons=1e6, seed=3)
        if options.cost:
            for _ in range(options.rounds):
                cost(scan, options.passes, folder / "now.live")
            return
        pp.save_scan(scan, folder / "scan.h5")
        words = [sys.executable, "-m", "ptychopinn", "serve", name, "--port", "0"]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as server:
            try:
                assert server.stdout is not None
                line = server.stdout.readline()
                found = re.search(r"(http://\S+)/#token=(\S+)", line)
                assert found is not None, line
                job = OWN if options.canvas else 1
                watch = Watch(folder, found[1], found[2], job)
                watch.begin(options.viewers)
                if options.canvas:
                    # By itself: what viewers take is not counted as its own.
                    alone = get_context("spawn").Process(
                        target=changing, args=(options.canvas, watch.shown)
                    )
                    alone.start()
                    alone.join()
                    watch.ended.set()
                else:
                    watch.order(
                        {"verb": "train", "scans": ["scan.h5"], "epochs": options.epochs}
                        if options.epochs
                        else {"verb": "refine", "source": "scan.h5", "passes": options.passes}
                    )
                watch.end(options.viewers)
            finally:
                server.terminate()


class Watch:
    """Viewers of a job, and how late they see what it shows."""

    def __init__(self, folder: Path, address: str, token: str, job: int) -> None:
        self.address, self.token, self.job = address, token, job
        self.shown = folder / ".ptychopinn-serve" / f"{job}.live"
        self.written: dict[int, float] = {}
        self.files: list[float] = []
        self.delays: list[float] = []
        self.bytes = 0
        self.ended = threading.Event()
        self.threads: list[threading.Thread] = []

    def begin(self, viewers: int) -> None:
        """Let them look from now on."""
        self.threads = [
            threading.Thread(target=work) for work in (self._note, *[self._view] * viewers)
        ]
        for thread in self.threads:
            thread.start()
        time.sleep(1.0)
        self.begun = time.monotonic()

    def _note(self) -> None:
        """When each part was written, by its content."""
        tiles, last = LiveTiles(), 0.0
        while not self.ended.is_set():
            with suppress(FileNotFoundError):
                when = self.shown.stat().st_mtime
                if when != last:
                    last = when
                    self.files.append(when)
                    for _, message in tiles.of(self.job, self.shown).values():
                        self.written.setdefault(zlib.crc32(message), when)
            time.sleep(0.005)

    def _view(self) -> None:
        address = self.address.replace("http", "ws") + "/api/live"
        with connect(address, max_size=None, compression=None) as socket:
            socket.send(json.dumps({"token": self.token}))
            socket.send(json.dumps({"watch": self.job}))
            while not self.ended.is_set():
                try:
                    message = socket.recv(0.5)
                except TimeoutError:
                    continue
                now = time.time()
                if isinstance(message, bytes):
                    # What this script has not seen yet itself came at once.
                    when = self.written.get(zlib.crc32(message), now)
                    self.delays.append(now - when)
                    self.bytes += len(message)
                elif any(job["ended"] for job in json.loads(message).get("jobs", [])):
                    self.ended.set()

    def order(self, verb: dict[str, Any]) -> None:
        """Let the server start what is wanted, with its options."""
        order = {"output": "out", **verb}
        request = urllib.request.Request(
            f"{self.address}/api/jobs", json.dumps(order).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )  # fmt: skip
        urllib.request.urlopen(request).close()

    def end(self, viewers: int) -> None:
        """Wait for the end of the job, and print."""
        for thread in self.threads:
            thread.join()
        late, seconds = np.array(self.delays), time.monotonic() - self.begun
        rate = len(self.files[1:]) / (self.files[-1] - self.files[0])
        parts, size = len(late) / viewers / seconds, self.bytes / viewers / seconds / 1e6
        print(
            f"{viewers} viewers, {len(self.files)} pictures, {rate:.1f} in a second, "
            f"{parts:.0f} parts and {size:.2f} MB in a second for each; "
            f"delay of a part: median {np.median(late):.3f} s, "
            f"99 % below {np.percentile(late, 99):.3f} s, longest {late.max():.3f} s"
        )


def changing(side: int, path: Path) -> None:
    """Show an object that changes everywhere, as a job would after passes."""
    show, steps = LivePicture(path), changed(side)
    begun = time.monotonic()
    while time.monotonic() < begun + OWN_S:
        show(next(steps))
        # A computation goes on; the next look waits for its seconds of a core.
        until = time.perf_counter() + 0.01
        while time.perf_counter() < until:
            pass


def price(side: int, path: Path, pictures: int = 30) -> None:
    """Print the seconds of a core that a picture takes, in the middle of so many."""
    steps, tiles, sizes = changed(side, patterns=0), LiveTiles(), []
    spent: dict[str, list[float]] = {"job": [], "server": []}
    for _ in range(pictures):
        # One that shows for the first time does not wait.
        step, show = next(steps), LivePicture(path)
        begun = time.thread_time()
        show(step)
        written = time.thread_time()
        messages = tiles.of(OWN, path)
        spent["job"].append(written - begun)
        spent["server"].append(time.thread_time() - written)
        sizes.append(sum(len(message) for _, message in messages.values()))
    job, server = (1e3 * np.median(found) for found in spent.values())
    print(
        f"a picture of {side} x {side}: {job:.1f} ms of a core in the job, {server:.1f} ms in the "
        f"server, {np.median(sizes) / 1e6:.2f} MB"
    )


def changed(side: int, patterns: int = 1000) -> Iterator[Step]:
    """Passes of which each changes the whole object, of so many patterns."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(side, 2 * side)) * 0.1
    y, x = np.indices((side, side)) / side
    seen, probe = np.ones((side, side), bool), np.exp(1j * np.indices((64, 64))[0] / 9)[None]
    frames = [
        np.exp(
            1j * (np.sin(9 * x + k) + noise[:, k * side // 8 : k * side // 8 + side] * (y + 0.2))
        )
        for k in range(9)
    ]
    frames = [frame.astype(np.complex64) for frame in frames]

    def look(numbers: NDArray[np.int64]) -> Looked:
        blank = rng.poisson(3.0, (2, len(numbers), 64, 64)).astype(np.float32)
        return Looked(blank[0], blank[1], rng.uniform(size=len(numbers)))

    def nothing() -> Solved:
        raise NotImplementedError

    for number in count(1):
        # No picture comes twice.
        frame = np.roll(frames[number % 9], number, axis=0)
        glance = Glance(frame, seen, probe.astype(np.complex64), patterns, look)
        yield Step(number, 0.1, nothing, lambda found=glance: found)  # type: ignore[misc]


class Within(Silent):
    """Shows what there is within passes, and counts the seconds of a core that this takes."""

    def __init__(self, show: LivePicture) -> None:
        self.show, self.seconds, self.pictures = show, 0.0, 0

    def meanwhile(self, number: int, share: float, glance: Callable[[], Glance]) -> None:
        def counted() -> Glance:
            self.pictures += 1
            return glance()

        before = time.thread_time()
        self.show.meanwhile(number, counted)
        self.seconds += time.thread_time() - before


def cost(scan: pp.Scan, passes: int, path: Path) -> None:
    """Print the share of the seconds of all cores that goes into showing."""
    show, shown = LivePicture(path), 0.0
    within = Within(show)
    solver = PhysicsSolver(
        NumpyOps(), PhysicsConfig(passes=passes, refine_probe=True), limit_bytes=1 << 30
    )
    ready = prepare(scan)
    begun, number = time.process_time(), 0
    for step in solver.run(ready, None, within):
        before = time.process_time()
        show(step)
        shown += time.process_time() - before
        number = step.number
    total, shown = time.process_time() - begun, shown + within.seconds
    print(
        f"{number} passes: {total - shown:.2f} s of a core without, {shown:.3f} s for showing, "
        f"{100 * shown / (total - shown):.2f} % more; {within.pictures} pictures within passes"
    )


if __name__ == "__main__":
    main()
