"""How late viewers of ``ptychopinn serve`` see the object of a job that runs.

    python benchmarks/viewers.py [--viewers 20] [--patterns 2000] [--size 64] [--passes 30]

Many WebSockets watch one refinement, whose picture and messages go to all of them. The delay of a
picture is from when the job wrote it until a viewer has it.
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
from contextlib import suppress
from pathlib import Path

import numpy as np
from websockets.sync.client import connect

import ptychopinn as pp


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--patterns", type=int, default=2000)
    parser.add_argument("--size", type=int, default=64, help="N of the patterns")
    parser.add_argument("--passes", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = pp.simulate(N=options.size, patterns=options.patterns, photons=1e6, seed=3)
        pp.save_scan(scan, folder / "scan.h5")
        words = [sys.executable, "-m", "ptychopinn", "serve", name, "--port", "0"]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as server:
            try:
                assert server.stdout is not None
                line = server.stdout.readline()
                found = re.search(r"(http://\S+)/#token=(\S+)", line)
                assert found is not None, line
                measure(folder, found[1], found[2], options.viewers, options.passes)
            finally:
                server.terminate()


def measure(folder: Path, address: str, token: str, viewers: int, passes: int) -> None:
    """Start the job, watch it with all viewers, print the delays."""
    written: dict[int, float] = {}
    delays: list[float] = []
    ended = threading.Event()

    def note() -> None:
        # When each picture was written, by its content.
        picture, last = folder / ".ptychopinn-serve" / "1.png", 0.0
        while not ended.is_set():
            with suppress(FileNotFoundError), picture.open("rb") as file:
                when = os.fstat(file.fileno()).st_mtime
                if when != last:
                    written[zlib.crc32(file.read())] = last = when
            time.sleep(0.005)

    def view() -> None:
        with connect(address.replace("http", "ws") + "/api/live", max_size=None) as socket:
            socket.send(json.dumps({"token": token}))
            socket.send(json.dumps({"watch": 1}))
            while not ended.is_set():
                message = socket.recv()
                now = time.time()
                if isinstance(message, bytes):
                    # What this script has not seen yet itself came at once.
                    when = written.get(zlib.crc32(message[4:]), now)
                    delays.append(now - when)
                elif any(job["ended"] for job in json.loads(message).get("jobs", [])):
                    ended.set()

    order = {"verb": "refine", "source": "scan.h5", "output": "out", "passes": passes}
    request = urllib.request.Request(
        f"{address}/api/jobs", json.dumps(order).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )  # fmt: skip
    threads = [threading.Thread(target=work) for work in (note, *[view] * viewers)]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    urllib.request.urlopen(request).close()
    for thread in threads:
        thread.join()
    late = np.array(delays)
    print(
        f"{viewers} viewers, {len(written)} pictures in {time.monotonic() - begun:.1f} s, "
        f"{len(late)} delays: median {np.median(late):.3f} s, "
        f"99 % below {np.percentile(late, 99):.3f} s, longest {late.max():.3f} s"
    )


if __name__ == "__main__":
    main()
