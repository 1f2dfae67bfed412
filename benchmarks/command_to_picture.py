"""How long does `ptychopinn reconstruct` or `infer` take, from the command to the picture?

python benchmarks/command_to_picture.py
python benchmarks/command_to_picture.py --architecture cnn --backend tensorflow

Architecture "pretrained" is `reconstruct`, with the network that comes with the program.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import ptychopinn as pp
from common import Clock, arguments, l9, report


def main() -> None:
    o = arguments(__doc__, architecture="pretrained", backend="pytorch", patterns=900, repeats=5)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        scan = l9(2, o.patterns)
        pp.save_scan(scan, place / "scan.h5")
        given = ["reconstruct", "scan.h5", "--refine", "never"]
        if o.architecture != "pretrained":
            config = pp.Config(
                model={"architecture": o.architecture}, data={"n_groups": 4}, training={"epochs": 1}
            )
            pp.train(scan, config, backend=o.backend).save(place / "wts.h5.zip")
            given = ["infer", "wts.h5.zip", "scan.h5"]
        options = ["-o", "result", "--force", "--quiet", "--backend", o.backend]
        walls, stages = [], {}
        for _ in range(o.repeats):
            clock = Clock()
            # Hardly trained, it may end with exit code 3 (poor fit); the files are written.
            subprocess.run(
                [sys.executable, "-m", "ptychopinn", *given, *options],
                cwd=place,
                capture_output=True,
                check=False,
            )
            walls.append(clock.read()[0])
            stages = json.loads((place / "result/run.json").read_text())["seconds"]
    row = {
        "architecture": o.architecture,
        "backend": o.backend,
        "patterns": o.patterns,
        "command s (median)": median(walls),
        **{f"{name} s": value for name, value in stages.items()},
    }
    report(f"command_to_picture_{o.architecture}_{o.backend}", o.out, [row])


if __name__ == "__main__":
    main()
