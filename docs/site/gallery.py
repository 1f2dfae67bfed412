"""Runs the scripts of examples/ and draws what they wrote: the gallery of the site.

python docs/site/gallery.py FOLDER
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ptychopinn as pp

EXAMPLES = Path(__file__).parents[2] / "examples"


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for script in sorted(EXAMPLES.glob("*.py")):
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as place:
            done = subprocess.run(
                [sys.executable, str(script)], cwd=place, text=True, stdout=subprocess.PIPE
            )
            if done.returncode:
                sys.exit(f"{script.name} ended with {done.returncode}")
            (folder / f"{script.stem}.txt").write_text(done.stdout, encoding="utf-8")
            for written in sorted(Path(place).iterdir()):
                draw(written, folder / f"{script.stem}.png")
        print(f"{script.name}: {time.perf_counter() - begun:.1f} s")


def draw(written: Path, picture: Path) -> None:
    """A picture of a file or folder that an example wrote."""
    if written.suffix == ".png":
        shutil.copy(written, picture)
        return
    if pictures := sorted(written.glob("*.png")):
        for one in pictures:
            shutil.copy(one, picture.with_stem(f"{picture.stem}-{one.stem}"))
        return
    if written.is_dir():
        # Of many scans, the first.
        written = sorted(written.rglob("reconstruction.h5"))[0]
    if written.suffix == ".zip":
        figure = pp.load_model(written).plot()
    else:
        try:
            figure = pp.load_reconstruction(written).crop().plot()
        except pp.InputError:
            figure = pp.load_scan(written).plot()
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
