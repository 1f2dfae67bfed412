"""Many scans at once: a folder for each, a table, and the results.

python examples/many_scans.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import ptychopinn as pp


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for seed in (1, 2, 3):
            scan = pp.simulate(N=32, patterns=100, seed=seed)
            paths.append(pp.save_scan(scan, Path(folder) / f"scan{seed}.h5"))
        batch = pp.reconstruct_many(paths, "many_scans", progress=True)
    for row in batch.rows:
        print(row["name"], row["verdict"], row["residual"], row["error"] or "")
    print(batch.load("scan1"))


# The processes that work on the scans load this file again.
if __name__ == "__main__":
    main()
