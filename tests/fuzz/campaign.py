"""A fuzz campaign: ``python tests/fuzz/campaign.py --seconds 120``, or one case of it again.

Every case damages a whole file of one format and reads it. Allowed are success and a refusal in one
sentence. Not allowed are a crash, another exception, a warning, more than 10 s of computing,
more than 1 GiB, and damaged bytes of our own formats that read as something else.
A case depends on the seed only.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import corpus
import numpy as np
from mutations import damage
from raw_targets import PREFIX
from targets import TARGETS, equal

from ptychopinn.errors import PtychoPINNError

# Of computing, so that a busy machine is no fault; whatever waits is stopped by the clock.
LONGEST_S, LONGEST_WAIT_S = 10, 60
MEMORY = 1 << 30
LONGEST_MESSAGE = 2000


class Hang(BaseException):
    """Not an Exception, so that no border turns it into a sentence."""


def _stop(*_: Any) -> None:
    raise Hang


def faults(name: str, seed: int, cases: range, whole: Path, seconds: float) -> Iterator[str]:
    """Run cases of a target until ``seconds`` are over; yield what must not have happened.

    ``whole`` is a folder with the corpus.
    """
    target = TARGETS[name]

    def others(_: str, names: list[str]) -> list[str]:
        return [other for other in names if other.startswith(PREFIX) and other != name]

    reference = target.read(whole / target.files[0])
    place = list(TARGETS).index(name)
    signal.signal(signal.SIGPROF, _stop)
    end = time.monotonic() + seconds
    for case in cases:
        if time.monotonic() > end:
            return
        random = np.random.default_rng([seed, place, case])
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            work = Path(folder) / "work"
            shutil.copytree(whole, work, ignore=others)
            damaged = work / target.files[int(random.integers(len(target.files)))]
            kind = damage(damaged, random)
            print(f"{name} {case}", flush=True)
            fault = _fault(name, work / target.files[0])
            if fault is None:
                continue
            if not isinstance(fault, str):
                # Read successfully: damaged bytes under checksums must not have mattered.
                checked = kind == "bytes" and target.checked(whole / damaged.relative_to(work))
                if not checked or equal(fault, reference):
                    continue
                fault = "damaged bytes were read as something else"
            yield f"{name}, case {case}: {fault}"


def _fault(name: str, path: Path) -> Any:
    """What went wrong as text, None for a proper refusal, what was read otherwise."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    # By a thread of its own, because code in C runs no handlers.
    faulthandler.dump_traceback_later(LONGEST_WAIT_S, exit=True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            read = TARGETS[name].read(path)
        outcome: Any = read
    except PtychoPINNError as error:
        text = str(error)
        outcome = None
        if "\n" in text or len(text) > LONGEST_MESSAGE:
            outcome = f"a message of {len(text)} characters: {text[:200]!r}"
    except Hang:
        outcome = f"more than {LONGEST_S} s"
    except Exception:  # noqa: BLE001  what is looked for
        outcome = traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
    if caught and not isinstance(outcome, str):
        outcome = f"the warning {caught[0].message} at {caught[0].filename}:{caught[0].lineno}"
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = (after - before) << 10
    return f"{grown >> 20} MiB of memory" if grown > MEMORY else outcome


def _campaign(seed: int, seconds: float, jobs: int, most: int) -> int:
    """Every target in a process of its own, ``jobs`` at a time; a crash is a fault too."""
    share = seconds * jobs / len(TARGETS)

    def run(name: str) -> tuple[str, int, list[str]]:
        command = [sys.executable, __file__, "--target", name, "--seed", str(seed)]
        command += ["--most", str(most)]
        done = subprocess.run(
            [*command, "--seconds", str(share)], capture_output=True, text=True, check=False
        )
        lines = done.stdout.splitlines()
        found = [done.stderr] if done.returncode == 1 and "Timeout" not in done.stderr else []
        if done.returncode and not found:
            last = lines[-1] if lines else "before the first case"
            found = [f"{last}: the process ended with {done.returncode} {done.stderr}"]
        return name, len(lines), found

    total = bad = 0
    with ThreadPoolExecutor(jobs) as pool:
        for name, count, found in pool.map(run, TARGETS):
            print(f"{name:20} {count:6} cases, {len(found) or 'no'} faults", flush=True)
            total, bad = total + count, bad + len(found)
            for text in found:
                print(text, flush=True)
    print(f"{total} cases")
    return 1 if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--target", choices=list(TARGETS))
    parser.add_argument("--case", type=int)
    parser.add_argument("--most", type=int, default=10**9, help="cases of each target")
    given = parser.parse_args()
    if given.target is None:
        return _campaign(given.seed, given.seconds, given.jobs, given.most)
    # Findings are no faults.
    logging.disable(logging.WARNING)
    # What a hostile file takes must not take the machine.
    resource.setrlimit(resource.RLIMIT_DATA, (4 * MEMORY, resource.RLIM_INFINITY))
    cases = range(given.most) if given.case is None else range(given.case, given.case + 1)
    found = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        corpus.make(Path(folder), given.target)
        for text in faults(given.target, given.seed, cases, Path(folder), given.seconds):
            print(text, file=sys.stderr)
            found += 1
            if found >= 5:
                break
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
