"""What a worker does with one of many scans: the folder that the single verb writes, and a row."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from rich.console import Console

from ptychopinn.checks.base import AXES
from ptychopinn.data.findings import Finding, recorded_findings, with_findings
from ptychopinn.data.fingerprint import GIVEN, difference, identity_of
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import DEBUG, InputError, PtychoPINNError, unforeseen
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.io import load_scan
from ptychopinn.io.atomic import TEMPORARY, claimed, scratch
from ptychopinn.io.log_file import kept_messages
from ptychopinn.io.reading import kind_of, read_json
from ptychopinn.io.reconstructions import load_reconstruction
from ptychopinn.ops.options import Execution
from ptychopinn.physics.axes import ScanAxes
from ptychopinn.probes.recipes import AUTO
from ptychopinn.report.bars import passes_shown
from ptychopinn.workflows.batch_orders import Order, Orders
from ptychopinn.workflows.model import Model, open_model
from ptychopinn.workflows.prepare import prepare
from ptychopinn.workflows.refinement import refine
from ptychopinn.workflows.result_folder import LOG, OUTDATED, RECORD, WRITTEN, write_folder
from ptychopinn.workflows.verbs import reconstruct

# Where run.json keeps what a result of many was made with, and the scan of raw data in its folder.
KEY, PREPARED = "batch", "scan.h5"
# Without these in its folder a result was not written to its end.
NEEDED = (WRITTEN[0], RECORD, LOG)

log = logging.getLogger(__name__)


class Row(TypedDict):
    """One line of the table.

    verdict : good, doubtful, poor or failed.  residual, expected : relative amplitude misfit, and
    that of photon noise alone.  seconds : that the result took.  likely : name of the likeliest
    cause where a fit is not good.  remark : the advice then, and what was mended or is doubtful
    about the scan, or None.  started_from : the folder whose probe it started with.  kept : whether
    the result was there.  error : why there is none.  axes : of the scan, as a refinement found
    them.  thumbnail : base64 of a PNG.
    """

    name: str
    scan: str
    folder: str
    verdict: str
    residual: float | None
    expected: float | None
    seconds: float | None
    patterns: int | None
    likely: str | None
    remark: str | None
    started_from: str | None
    kept: bool
    error: str | None
    axes: Mapping[str, float] | None
    thumbnail: str | None


def failed(order: Order, error: BaseException) -> Row:
    """The row of a scan without a result."""
    known = isinstance(error, PtychoPINNError) or not isinstance(error, Exception)
    text = " ".join(str(error).split()) if known else unforeseen(error)  # type: ignore[arg-type]
    return Row(
        name=Path(order.folder).name, scan=order.scan, folder=order.folder, verdict="failed",
        residual=None, expected=None, seconds=None, patterns=None, likely=None, remark=None,
        started_from=None, kept=False, error=text, axes=None, thumbnail=None,
    )  # fmt: skip


@dataclass
class Bench:
    """Where scans are worked on, one after another, with a model that is read once."""

    orders: Orders
    threads: int
    model: Model | None = field(init=False, default=None)
    execution: Execution = field(init=False)

    def __post_init__(self) -> None:
        given = self.orders.execution
        own = {} if given.threads is not None else {"threads": self.threads}
        self.execution = given.model_copy(update=own)

    def __call__(self, order: Order) -> Row:
        """The row of this scan, whose folder is written; errors are rows too."""
        try:
            return self._row(order)
        except Exception as error:  # noqa: BLE001  # a faulty scan fails alone
            if os.environ.get(DEBUG):
                traceback.print_exc()
            return failed(order, error)

    def _row(self, order: Order) -> Row:
        folder, begun = Path(order.folder), time.perf_counter()
        known = recorded(folder)
        unfinished = cut_short(folder)
        if (
            known is not None
            and not self.orders.force
            and not other_options(known, self.orders.options())
        ):
            start = self._start_of(order)
            changed = _changed(known["start"], start)
            if changed is not None:
                raise InputError(
                    f"a folder is used again for the same scan, received '{folder}' with the "
                    f"result of another, whose {changed} differ from those of '{order.scan}'; "
                    "choose another folder or add force=True to overwrite."
                )
            if all((folder / name).is_file() for name in NEEDED):
                return self._kept(order, folder)
            unfinished = True
        with (
            kept_messages(self.orders.wording) as log_file,
            claimed(folder, (*WRITTEN, *OUTDATED), self.orders.force or unfinished),
            self._prepared(order) as path,
        ):
            scan, start = self._opened(order, path)
            seconds = {"load": time.perf_counter() - begun}
            result = self._made(order, scan)
            seconds.update(result.seconds)
            orders = self.orders
            record = {
                **({} if orders.model is None else {"model": orders.model}),
                **(
                    {}
                    if orders.config is None
                    else {"config": orders.config.model_dump(mode="json")}
                ),
                **self._effects("model" if orders.verb == "refine" else "refine_model"),
                "execution": self.execution.model_dump(mode="json"),
                "scan": order.scan,
                "stopped_by_signal": None,
                KEY: {"options": orders.options(), "start": start, "started_from": order.lead},
            }
            write_folder(
                result,
                scan,
                folder,
                log_file,
                record,
                seconds,
                begun,
                order.arguments,
                self._advised,
                orders.look,
            )
        return self._row_of(order, result, read_json(folder / RECORD), kept=False)

    @contextmanager
    def _prepared(self, order: Order) -> Iterator[Path]:
        """The scan file to work on. Where it is made of raw data it lies beside its result, where
        refining it finds it: from the end of the block on, when there is a new result, and not
        before, so that an earlier result keeps its own.

        Raises
        ------
        InputError
            When another file has its name.
        """
        if self.orders.recipe is None:
            yield Path(order.scan)
            return
        folder = Path(order.folder)
        place, result = folder / PREPARED, folder / WRITTEN[0]
        if not self.orders.force and not _made_of(place, order.scan):
            raise InputError(
                f"the prepared scan must be a new file, received '{place}', which was not made of "
                f"'{order.scan}'; choose another folder or add force=True to overwrite."
            )
        before = _identity(result)
        with scratch(folder) as stage:
            try:
                prepare([order.scan], stage / PREPARED, self.orders.recipe)
                yield stage / PREPARED
            finally:
                # Also when only the figures failed.
                if _identity(result) not in (None, before):
                    (stage / PREPARED).replace(place)

    def _opened(self, order: Order, path: Path) -> tuple[Scan, dict[str, Any]]:
        """The scan that is worked on, and what tells it from others."""
        reading = dict(self.orders.reading)
        if order.lead is not None:
            reading["probe"] = order.lead
        scan = load_scan(path, **reading)
        if self.orders.recipe is not None:
            # Where it will be.
            file = str((Path(order.folder) / PREPARED).absolute())
            scan = replace(scan, provenance={**scan.provenance, "file": file})
        start = self._start_of(order, scan if order.lead is None else None)
        if order.axes is not None:
            scan = with_axes(scan, ScanAxes(**order.axes), order.lead or "")
        return scan, start

    def _start_of(self, order: Order, scan: Scan | None = None) -> dict[str, Any]:
        """What tells this scan from others: counts, positions and the probe that belongs to it, or
        the raw files; ``scan`` is the scan where it was read with that probe."""
        if self.orders.recipe is not None:
            return {"source": _state(Path(order.scan))}
        # A probe that is found follows from the patterns.
        own = {k: v for k, v in self.orders.reading.items() if k != "probe" or v != AUTO}
        found = len(own) < len(self.orders.reading)
        if scan is None:
            scan = load_scan(order.scan, **own, probe_needed=False)
        digest = hashlib.blake2b(scan.probe.tobytes(), digest_size=8).hexdigest()
        return {"fingerprint": identity_of(scan), "probe": AUTO if found else digest}

    def _made(self, order: Order, scan: Scan) -> Reconstruction:
        orders = self.orders
        common: dict[str, Any] = {
            "backend": orders.backend,
            "execution": self.execution,
            "uncertainty": orders.uncertainty,
            "no_mend": orders.no_mend,
            # Nobody looks at a bar; the log has its passes.
            "progress": passes_shown(Console(stderr=True), quiet=True),
        }
        if orders.verb == "refine":
            own = self._effects("model")
            return refine(scan, None, orders.config, modes=orders.modes, **own, **common)
        if self.model is None:
            assert orders.model is not None  # of every verb with a network
            self.model = open_model(orders.model)
        if orders.verb == "infer":
            given = orders.reading.get("probe") is not None or order.lead is not None
            return reconstruct(scan, self.model, refine="never", keep_probe=given, **common)
        own = self._effects("refine_model")
        return reconstruct(scan, self.model, refine=orders.refine, **own, **common)

    def _effects(self, name: str) -> dict[str, Any]:
        """The model of beam, sample and detector as an argument of this name; nothing of none."""
        return {} if self.orders.effects is None else {name: self.orders.effects}

    def _advised(self, fit: Misfit) -> str:
        return self.orders.advice(fit.likely, fit.cause)

    def _kept(self, order: Order, folder: Path) -> Row:
        """The row of a result that is there."""
        return self._row_of(
            order, load_reconstruction(folder), read_json(folder / RECORD), kept=True
        )

    def _row_of(
        self, order: Order, result: Reconstruction, record: Mapping[str, Any], *, kept: bool
    ) -> Row:
        from ptychopinn.report.matplotlib_import import load_matplotlib

        load_matplotlib()
        from ptychopinn.report.thumbnails import phase_thumbnail

        fit = record["fit"]
        bad = fit["verdict"] != "good"
        remarks = [self.orders.advice(fit["likely"], fit["cause"])] if bad else []
        remarks += [
            self.orders.wording(found.message)
            for found in recorded_findings(record)
            if found.level != "note"
        ]
        axes = [stage["scan_axes"] for stage in record["stages"] if "scan_axes" in stage]
        return Row(
            name=Path(order.folder).name, scan=order.scan, folder=order.folder,
            verdict=fit["verdict"], residual=fit["residual"], expected=fit["expected"],
            seconds=record["seconds"]["total"], patterns=record["patterns"], likely=fit["likely"],
            remark=" ".join(text[:1].upper() + text[1:] for text in remarks) or None,
            started_from=record[KEY]["started_from"], kept=kept,
            error=None, axes=axes[-1] if axes else None,
            thumbnail=base64.b64encode(phase_thumbnail(result)).decode(),
        )  # fmt: skip


def recorded(folder: Path) -> dict[str, Any] | None:
    """What the result in this folder was made with, where it is one of many."""
    if kind_of(folder / RECORD) != "file":
        return None
    try:
        found = read_json(folder / RECORD).get(KEY)
    except InputError:
        # Whoever would overwrite it is refused.
        return None
    expected = isinstance(found, dict) and {"options", "start", "started_from"} <= set(found)
    return found if expected else None


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from one that takes its place; None when there is none."""
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_mtime_ns


def _made_of(scan: Path, source: str) -> bool:
    """Whether a file is a scan that was prepared of this raw data, or not there."""
    if kind_of(scan) == "nothing":
        return True
    try:
        made = load_scan(scan, probe_needed=False).provenance
    except InputError:
        return False
    return made.get("sources") == [str(Path(source).absolute())]


def cut_short(folder: Path) -> bool:
    """Whether a process died while it was putting a result into this folder: what it wanted to
    replace is gone, and its record is not there yet."""
    if kind_of(folder) != "folder" or (folder / RECORD).exists():
        return False
    return any(path.is_dir() for path in folder.glob(f"{TEMPORARY}*"))


def _changed(before: Any, now: Mapping[str, Any]) -> str | None:
    """What of a scan is not as it was, in words."""
    if before == now:
        return None
    known = before if isinstance(before, Mapping) else {}
    if "source" in now:
        return "raw files"
    parts = difference(str(known.get("fingerprint")), str(now["fingerprint"]))
    return parts or "probe"


def _state(path: Path) -> list[list[Any]]:
    """Name, size and time of the last change (ns) of a file, or of all files in a folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    found = []
    for file in files:
        about = file.stat()
        found.append([file.name, about.st_size, about.st_mtime_ns])
    return found


def with_axes(scan: Scan, axes: ScanAxes, lead: str) -> Scan:
    """The scan with positions that are mended as those of another scan were: given positions had
    these axes there."""
    inverse = ScanAxes.of(np.asarray(np.linalg.inv(axes.matrix), np.float64))
    found = Finding(
        AXES,
        "mended",
        f"the positions were turned, scaled and sheared as those of '{lead}' had to be.",
        asdict(axes),
    )
    provenance = {**with_findings(scan.provenance, [found]), GIVEN: identity_of(scan)}
    log.warning("%s: %s", scan.name, found.message)
    # An object in the file is not where they are.
    return replace(
        scan,
        positions_px=inverse.applied(scan.positions_px),
        object=None,
        provenance=provenance,
    )


def bench(orders: Orders) -> Callable[[int], Bench]:
    """Makes what a worker with so many threads works with."""
    return partial(Bench, orders)


def other_options(known: Mapping[str, Any], options: Mapping[str, Any]) -> Collection[str]:
    """The names of options that are not those a result was made with."""
    before = known["options"] if isinstance(known.get("options"), Mapping) else {}
    return [name for name in options if before.get(name) != options[name]]
