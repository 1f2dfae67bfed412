"""How do the refinement and pty-chi's LSQML compare on the same scan, from the same start?

python benchmarks/against_iterative.py --passes 10,50,100

Both get the true probe and the true positions. Rows of pty-chi are left out when it is missing.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import ptychopinn as pp
from common import arguments, report
from ptychopinn.errors import MissingDependencyError
from ptychopinn.solvers import ptychi
from ptychopinn.solvers.configs import PtychiConfig
from unseen_scans import CASES, simulated


def row(case: str, method: str, scan: pp.Scan, found: Any, seconds: float) -> dict[str, Any]:
    scores = pp.evaluate(found, truth=scan, data=scan).metrics
    return {
        "case": case,
        "method": method,
        "passes": len(found.losses),
        "s": seconds,
        "phase dB": scores["phase_psnr_db"],
        "amplitude dB": scores["amplitude_psnr_db"],
        "NRMSE": scores["nrmse"],
        "residual": scores["residual"],
        "photon noise": scores["residual_expected"],
    }


def main() -> None:
    o = arguments(__doc__, passes="10,50,100")
    try:
        ptychi.require()
        epochs = [int(number) for number in o.passes.split(",")]
    except MissingDependencyError as error:
        print(f"without pty-chi: {error}")
        epochs = []
    rows = []
    for case in CASES:
        scan = simulated(case, "")
        network = pp.reconstruct(scan, "pretrained")
        refined = pp.refine(scan)
        rows.append(row(case, "refine", scan, refined, refined.seconds["refinement"]))
        after = pp.refine(scan, network)
        seconds = network.seconds["network"] + after.seconds["refinement"]
        rows.append(row(case, "pretrained+refine", scan, after, seconds))
        for batching, passes in product(("random", "compact"), epochs):
            config = PtychiConfig(passes=passes, batching=batching)
            found = pp.refine(scan, None, config)
            name = f"pty-chi LSQML, {batching}"
            rows.append(row(case, name, scan, found, found.seconds["refinement"]))
    report("against_iterative", o.out, rows)


if __name__ == "__main__":
    main()
