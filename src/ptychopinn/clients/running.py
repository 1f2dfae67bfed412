"""Training and reconstruction for a client that receives log messages only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ptychopinn.clients.settings import Translation, starting_model
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError, PtychoPINNError
from ptychopinn.io.models import Bundle
from ptychopinn.ops.selector import BackendName
from ptychopinn.workflows import train as training
from ptychopinn.workflows import verbs as workflows

EpochHook = Callable[[int, Mapping[str, float]], None]


@contextmanager
def reporting(name: str) -> Iterator[logging.Logger]:
    """Send messages and errors where a client sees them; errors become built-in exceptions.

    Exceptions travel to the client's process as pickles, and only what is logged reaches its
    window: the sentence of an error is logged on the logger ``name`` before it is raised.
    """
    logger = logging.getLogger(name)
    package = logging.getLogger("ptychopinn")
    levels = {each: each.level for each in (logger, package)}
    for each in levels:
        each.setLevel(logging.INFO)
    try:
        yield logger
    except PtychoPINNError as error:
        logger.error("%s", error)
        kind = ValueError if isinstance(error, InputError) else RuntimeError
        raise kind(str(error)) from None
    finally:
        for each, level in levels.items():
            each.setLevel(level)


class LoggedProgress:
    """A line on a logger for every epoch, and a hook that hears its metrics."""

    def __init__(
        self, logger: logging.Logger, epochs: int, on_epoch: EpochHook | None = None
    ) -> None:
        self._logger, self._epochs, self._on_epoch = logger, epochs, on_epoch

    def epoch(self, number: int, steps: int) -> None: ...

    def step(self, loss: float, patterns_per_s: float) -> None: ...

    def epoch_done(self, number: int, metrics: Mapping[str, float]) -> None:
        shown = ", ".join(
            f"{name} {metrics[name]:.4g}" for name in ("train_loss", "val_loss") if name in metrics
        )
        self._logger.info("epoch %d/%d: %s", number + 1, self._epochs, shown)
        if self._on_epoch is not None:
            self._on_epoch(number, metrics)


def train(
    scans: Sequence[Scan],
    translation: Translation,
    logger: logging.Logger,
    *,
    directory: Path | None = None,
    on_epoch: EpochHook | None = None,
) -> workflows.Model:
    """Train as the translated settings say; see :func:`ptychopinn.train`."""
    config = translation.config
    for note in translation.notes:
        logger.info("no effect: %s", note)
    logger.info(
        "training %s (%s) with %s on %d pattern(s) of %d scan(s)",
        config.model.architecture,
        config.model.mode,
        translation.backend,
        sum(scan.M for scan in scans),
        len(scans),
    )
    model = training.train(
        scans,
        config,
        directory=directory,
        backend=translation.backend,
        execution=translation.execution,
        start=starting_model(),
        progress=LoggedProgress(logger, config.training.epochs, on_epoch),
    )
    logger.info("trained in %.0f s", model.seconds)
    return model


def reconstruct(
    bundle: Bundle, scan: Scan, logger: logging.Logger, backend: BackendName | None = None
) -> Reconstruction:
    """Reconstruct a scan with any backend; a result that does not fit is a warning."""
    result = workflows.reconstruct(scan, bundle, backend=backend, refine="never")
    fit = result.fit
    assert fit is not None  # every verb states it
    text = "reconstructed %d patterns: residual %.4f, photon noise alone gives %.4f"
    numbers = (scan.M, fit.residual, fit.expected)
    if fit.verdict == "good":
        logger.info(text, *numbers)
    else:
        text = f"{fit.verdict.upper()} FIT: {text}; likely %s"
        logger.warning(text, *numbers, fit.cause)
    return result
