"""Many scans, one folder each, on workers of Dask."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from ptychopinn.config import RefineConfig
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.errors import InputError, listed, shown
from ptychopinn.io.atomic import atomic_path, claimed, refuse_existing, scratch
from ptychopinn.io.log_file import Wording
from ptychopinn.io.reconstructions import load_reconstruction
from ptychopinn.machine.cluster import Crew, Where, crew, require
from ptychopinn.machine.interruption import StopFlag
from ptychopinn.ops.options import Execution
from ptychopinn.ops.selector import BackendName, choose
from ptychopinn.report.batch_tables import csv_text, html_page
from ptychopinn.report.figure_names import formats_of
from ptychopinn.sources.recipe import Recipe
from ptychopinn.workflows.batch_orders import (
    TABLES,
    Advice,
    Order,
    Orders,
    Share,
    Verb,
    check,
    digest_of,
    in_python,
    model_of,
    names_of,
    paths_of,
    reading_of,
)
from ptychopinn.workflows.batch_work import (
    Row,
    bench,
    cut_short,
    failed,
    other_options,
    recorded,
)
from ptychopinn.workflows.model import Model
from ptychopinn.workflows.prepare import merged
from ptychopinn.workflows.result_folder import OUTDATED, REPORT, WRITTEN, Look
from ptychopinn.workflows.verbs import Further

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Voice:
    """How things are said: the advice about a fit and a sentence of the package, both of which a
    worker must be able to import; and the arguments of the command that are about a scan."""

    advice: Advice = in_python
    sentence: Wording = str
    arguments: Callable[[str], Sequence[str]] = lambda scan: ()


class Followed(Protocol):
    """Is called when a scan is done."""

    def __call__(self, row: Row, /) -> None: ...


@dataclass(frozen=True, eq=False)
class Batch:
    """What came of many scans.

    rows : one for each scan, in their order (see :class:`ptychopinn.workflows.batch_work.Row`);
    of a batch that was stopped only those that are done.  output : the folder of all.
    stopped_by : number of the signal that stopped it, or None.
    """

    rows: tuple[Row, ...]
    output: Path
    stopped_by: int | None = None

    def __repr__(self) -> str:
        return f"Batch({self.summary()}, in {str(self.output)!r})"

    def summary(self) -> str:
        """How many scans fit well, and how many do not, in words."""
        counts = Counter(row["verdict"] for row in self.rows)
        words = [f"{n} {word}" for word in _VERDICTS if (n := counts[word])]
        kept = sum(row["kept"] for row in self.rows)
        kept_words = f"; {kept} were there before" if kept else ""
        return f"{len(self.rows)} scans: {', '.join(words) or 'none done'}{kept_words}"

    @property
    def failed(self) -> tuple[Row, ...]:
        """The rows of scans that have no result."""
        return tuple(row for row in self.rows if row["verdict"] == "failed")

    def load(self, name: str) -> Reconstruction:
        """The result of the scan with this name; InputError when there is none."""
        for row in self.rows:
            if row["name"] == name and row["verdict"] != "failed":
                return load_reconstruction(row["folder"])
        names = listed(row["name"] for row in self.rows if row["verdict"] != "failed")
        raise InputError(
            f"the name of a scan with a result was expected, received {shown(name)}; there are: "
            f"{names}."
        )


_VERDICTS = ("good", "doubtful", "poor", "failed")


def reconstruct_many(
    scans: Iterable[str | Path],
    output: str | Path,
    *,
    verb: Verb = "reconstruct",
    model: str | Path | Model | None = None,
    refine: Further = "auto",
    config: RefineConfig | None = None,
    modes: int | Literal["auto"] | None = None,
    backend: BackendName | None = None,
    execution: Execution | None = None,
    uncertainty: bool = False,
    no_mend: Collection[str] = (),
    figures: Collection[str] = (),
    report: bool = True,
    reading: Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    share: Share = "nothing",
    scheduler: str | None = None,
    slurm: bool = False,
    workers: int | None = None,
    threads: int | None = None,
    force: bool = False,
    progress: Followed | bool | None = None,
    stop: StopFlag | None = None,
    voice: Voice | None = None,
) -> Batch:
    """Reconstruct many scans on many workers, each into a folder of its own.

    ``output/NAME/`` holds what the command of the verb writes, NAME being that of the scan;
    ``batch.csv`` and ``batch.html`` are the table. A scan that fails has its sentence there and
    stops no other. What a folder holds already is taken, when it was made of the same scan with the
    same options. A script that calls this begins its work below ``if __name__ == "__main__"``,
    because workers of this machine load it again.

    Parameters
    ----------
    scans : files or folders, as :func:`ptychopinn.load_scan` reads them, or with ``recipe`` raw
        data. Where names are alike, those of the folders above are put before them.
    output : the folder of all.
    verb : "reconstruct" with the network that comes with the package, "refine" from an empty
        object, "infer" with ``model``.
    model : for "infer" the path of a bundle; for the others which effects of beam, sample and
        detector are followed, as in :func:`ptychopinn.refine`.
    refine : as in :func:`ptychopinn.reconstruct`, for "reconstruct".
    config, modes : as in :func:`ptychopinn.refine`, for "refine".
    backend, execution, uncertainty, no_mend : as in these.
    figures : formats in which every figure is drawn into ``figures``: png, pdf, svg, tiff.
    report : write report.html beside every result.
    reading : what :func:`ptychopinn.load_scan` is told about every scan: probe, modes, units,
        photons, frames, clip_negative.
    recipe : how raw data become a scan (:func:`ptychopinn.prepare`); it is kept as ``scan.h5`` in
        the folder of its result.
    share : "probe" starts all scans with the probe of the first that fits well, "positions" also
        with the scan axes that were found there. As many scans as there are workers are tried at a
        time until one fits.
    scheduler : address of a scheduler of Dask, whose workers see the same files.
    slurm : start workers as jobs of Slurm, as dask-jobqueue is configured.
    workers : how many processes of this machine, or jobs; as many as cores when not given.
    threads : of each worker; the cores are shared out when not given.
    force : compute anew what is there.
    progress : True for a bar on stderr, or a function that is called with each row as it comes.
    stop : when it is set, no further scan is begun, those in work are left, and those that are done
        are the result.
    voice : how the command line says things.

    Raises
    ------
    InputError
        When options or names contradict each other, a folder holds what was made otherwise, or
        another process is writing there.
    MissingDependencyError
        When Dask, or the package of the backend, is not installed.
    """
    voice = Voice() if voice is None else voice
    where = Where(scheduler, slurm, workers, threads)
    require(where)
    paths = paths_of(scans)
    backend, execution = choose(backend, execution)
    bundle, effects = model_of(verb, model)
    orders = Orders(
        verb=verb,
        model=bundle,
        model_digest=None,
        refine=refine,
        config=RefineConfig() if verb == "refine" and config is None else config,
        modes=modes,
        uncertainty=uncertainty,
        no_mend=(no_mend,) if isinstance(no_mend, str) else tuple(no_mend),
        reading=reading_of(reading),
        recipe=None if recipe is None else merged(recipe, {}).given(),
        share=share,
        backend=backend,
        execution=execution,
        force=force,
        advice=voice.advice,
        wording=voice.sentence,
        look=Look(formats_of(",".join(figures)) if figures else (), report),
        effects=effects,
    )
    check(orders)
    orders = replace(orders, model_digest=digest_of(orders.model))
    stop = StopFlag() if stop is None else stop
    home = Path(output)
    todo = [
        Order(str(path), str((home / name).absolute()), tuple(voice.arguments(str(path))))
        for path, name in zip(paths, names_of(paths), strict=True)
    ]
    with claimed(home):
        if not force:
            for order in todo:
                _refuse_other(orders, Path(order.folder))
        rows = _worked(orders, todo, where, home, stop, progress, voice)
        if stop.signal is not None:
            _leave(todo, rows)
        done = tuple(rows[order.folder] for order in todo if order.folder in rows)
        batch = Batch(done, home, stop.signal)
        write_tables(batch)
    return batch


def _worked(
    orders: Orders,
    todo: Sequence[Order],
    where: Where,
    home: Path,
    stop: StopFlag,
    progress: Followed | bool | None,
    voice: Voice,
) -> dict[str, Row]:
    """The row of every scan that is done, by its folder."""
    rows: dict[str, Row] = {}
    with (
        scratch(home) as folder,
        _shown(progress, len(todo)) as follow,
        crew(where, bench(orders), len(todo), folder) as workers,
    ):
        for row in _rows(orders, todo, workers, stop):
            if row["error"] is not None:
                row["error"] = voice.sentence(row["error"])
            rows[row["folder"]] = row
            _say(row, len(rows), len(todo))
            follow(row)
    return rows


def _rows(orders: Orders, todo: Sequence[Order], workers: Crew, stop: StopFlag) -> Iterator[Row]:
    """The rows as they come; those that give the others a start come first."""

    def done(orders_: Sequence[Order]) -> Iterator[Row]:
        for number, found in workers.done(orders_, lambda: stop.signal is not None):
            row = failed(orders_[number], found) if isinstance(found, BaseException) else found
            yield row

    if orders.share == "nothing":
        yield from done(todo)
        return
    waiting, lead = list(todo), _earlier_lead(orders, todo)
    if lead is not None:
        first = [order for order in todo if order.folder == lead]
        waiting = [order for order in todo if order.folder != lead]
    while waiting or lead is not None:
        if lead is None:
            count = workers.size
            first, waiting = waiting[:count], waiting[count:]
        found = {}
        for row in done(first):
            found[row["folder"]] = row
            yield row
        if stop.signal is not None:
            return
        good = [found[o.folder] for o in first if found[o.folder]["verdict"] == "good"]
        if good:
            yield from done([_started(orders, order, good[0]) for order in waiting])
            return
        lead = None
    if len(todo) > 1:
        log.warning("no scan fits well, so that nothing was shared: every one started by itself")


def _started(orders: Orders, order: Order, lead: Row) -> Order:
    """The order with the probe, and the axes, of a result that fits well."""
    axes = lead["axes"] if orders.share == "positions" else None
    return replace(order, lead=lead["folder"], axes=axes)


def _earlier_lead(orders: Orders, todo: Sequence[Order]) -> str | None:
    """The result that those which are there have started with."""
    if orders.force:
        return None
    folders = {order.folder for order in todo}
    for order in todo:
        known = recorded(Path(order.folder))
        if known is not None and known["started_from"] in folders:
            return str(known["started_from"])
    return None


def _say(row: Row, number: int, of: int) -> None:
    done = f"{row['name']} ({number} of {of})"
    if row["verdict"] == "failed":
        log.warning("%s failed: %s", done, row["error"])
    elif row["kept"]:
        log.info("%s was there: %s fit", done, row["verdict"])
    else:
        log.info(
            "%s: %s fit, residual %.4f, %.1f s",
            done, row["verdict"], row["residual"] or 0.0, row["seconds"] or 0.0,
        )  # fmt: skip


def write_tables(batch: Batch) -> None:
    """Write batch.csv and batch.html."""
    rows: list[Mapping[str, Any]] = [
        {
            **row,
            "link": Path(row["folder"]).name if row["verdict"] != "failed" else None,
            "page": REPORT if (Path(row["folder"]) / REPORT).is_file() else None,
        }
        for row in batch.rows
    ]
    stopped = "" if batch.stopped_by is None else "; it was stopped, not all scans are done"
    with atomic_path(batch.output / TABLES[0]) as file:
        file.write_bytes(csv_text(rows).encode())
    with atomic_path(batch.output / TABLES[1]) as file:
        page = html_page(f"Scans in {batch.output.name}", batch.summary() + stopped, rows)
        file.write_bytes(page.encode())


def _shown(progress: Followed | bool | None, count: int) -> AbstractContextManager[Followed]:
    """Who follows how many scans are done."""
    if progress is None or progress is False:
        return nullcontext(lambda row: None)
    if progress is True:
        from rich.console import Console

        from ptychopinn.report.bars import ScansBar

        return ScansBar(Console(stderr=True), count)
    if isinstance(progress, AbstractContextManager):
        return progress
    if callable(progress):
        return nullcontext(progress)
    raise InputError(
        "progress must be True for a bar, or a function that is called with each row, received "
        f"{shown(progress)}; leave it out to hear nothing."
    )


def _leave(todo: Sequence[Order], rows: Mapping[str, Row]) -> None:
    """Take away what scans that were in work have begun; a folder that is whole stays."""
    for order in todo:
        folder = Path(order.folder)
        if order.folder not in rows and folder.is_dir():
            with suppress(InputError, OSError):
                with claimed(folder):
                    pass
                folder.rmdir()


def _refuse_other(orders: Orders, folder: Path) -> None:
    """Raise InputError when a folder holds what these orders would not have made."""
    known = recorded(folder)
    if known is not None:
        names = other_options(known, orders.options())
        if names:
            raise InputError(
                f"a folder is used again with the options of its result, received '{folder}', "
                f"where {listed(names)} were others; choose another folder or add force=True to "
                "overwrite."
            )
    elif not cut_short(folder):
        refuse_existing(folder, (*WRITTEN, *OUTDATED), False)
