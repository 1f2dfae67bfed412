"""How large the page of a result is, and how long it takes to make.

python benchmarks/page_of_a_result.py [--patterns 900 10000]
"""

from __future__ import annotations

import argparse
import time

import ptychopinn as pp
from ptychopinn.evaluation.beside import Compared
from ptychopinn.report.web_page import result_page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patterns", type=int, nargs="+", default=[900, 10_000])
    for patterns in parser.parse_args().patterns:
        scan = pp.simulate(object="leaves", patterns=patterns, photons=1e5, seed=3)
        result = pp.reconstruct(scan, refine="never")
        # The command has imported what draws and drawn two pictures by then.
        result_page(result, None)
        wall, processor = time.perf_counter(), time.process_time()
        page = result_page(result, Compared.of(result, scan))
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        print(
            f"{patterns} patterns, object {' x '.join(map(str, result.object.shape))}: "
            f"{len(page) / 1e6:.2f} MB, {wall:.2f} s, {processor:.2f} CPU s"
        )


if __name__ == "__main__":
    main()
