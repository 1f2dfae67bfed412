"""The parts of training: health check, watched metrics, signals, data loading, resuming."""

from __future__ import annotations

import math
import signal
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptychopinn.config import Config
from ptychopinn.contracts import Silent
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.data.scan import Scan
from ptychopinn.entry import ENDING
from ptychopinn.errors import InputError, TrainingError
from ptychopinn.machine.interruption import (
    SAME_WITHIN_S,
    Interrupted,
    Signals,
    StopFlag,
    Stopped,
)
from ptychopinn.machine.readers import read_ahead, reading
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.ops.options import TFExecution, TorchExecution
from ptychopinn.ops.selector import get_ops
from ptychopinn.physics.forward import vacuum_pattern
from ptychopinn.physics.noise import noise_of_amplitude
from ptychopinn.simulation import SimulationConfig, simulate
from ptychopinn.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from ptychopinn.training.data import needs_truth, patch_truth, read_batch
from ptychopinn.training.families import group_task
from ptychopinn.training.health import FLAT, HealthCheck, judge_result, metrics_at_best
from ptychopinn.training.monitor import EarlyStopping, Monitor
from ptychopinn.training.objective import Estimate, Prediction
from ptychopinn.training.plan import GroupPlan
from ptychopinn.training.run import built_network, check_config, check_finite, train
from ptychopinn.training.schedule import Schedule
from ptychopinn.training.watch import FitWatch

BACKENDS = ("pytorch", "tensorflow")
SMALL = {"architecture": "unrolled", "iterations": 2, "width": 4, "levels": 1}
# Where its size does not matter: TensorFlow traces half of the graph.
ONCE = {**SMALL, "iterations": 1}
CNN = {"architecture": "cnn", "n_filters_scale": 0.1, "N": 32}


def operations(backend: str, **options: Any) -> Any:
    """Skips where the framework is not installed."""
    pytest.importorskip({"pytorch": "lightning", "tensorflow": "tensorflow"}[backend])
    schema = TorchExecution if backend == "pytorch" else TFExecution
    return get_ops(backend, schema(**{"logger": "none", **options}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scan() -> Scan:
    return simulate(SimulationConfig(N=32, patterns=60, photons=1e5, seed=3))


@pytest.fixture(scope="module")
def prepared(scan: Scan) -> PreparedScan:
    return prepare(scan)


def config(training: dict[str, Any] | None = None, **sections: Any) -> Config:
    values = {"model": SMALL, "data": {"n_groups": 3, "subscan_patterns": 20}, **sections}
    return Config(**{**values, "training": {"epochs": 2, **(training or {})}})


# --- health ---------------------------------------------------------------------------------------


def metrics(loss: float = 1.0, **changes: float) -> dict[str, float]:
    good = {"explained": 0.5, "object_std": 0.2, "correlation": 0.7, "residual": 0.1}
    return {"val_loss": loss, **good, **changes}


def judge(check: HealthCheck, *epochs: dict[str, float]) -> None:
    for number, values in enumerate(epochs, start=1):
        check.judge(number, values)


def test_healthy_run_is_left_alone() -> None:
    check = HealthCheck(2)
    judge(check, *[metrics()] * 10)
    assert check.bad_epochs == 0


def test_flat_object_stops_after_patience() -> None:
    flat = metrics(object_std=0.1 * FLAT, explained=0.0)
    check = HealthCheck(3)
    judge(check, flat, flat, flat)
    with pytest.raises(TrainingError, match="collapsed; lower learning_rate"):
        check.judge(4, flat)


def test_poor_fit_stops_after_patience() -> None:
    check = HealthCheck(3)
    poor = metrics(explained=-0.2)
    judge(check, poor, poor, poor)
    with pytest.raises(TrainingError, match=r"share of -0\.20 .* correlation of 0\.70"):
        check.judge(4, poor)


def test_one_good_epoch_restarts_the_count() -> None:
    poor = metrics(explained=-0.2)
    judge(HealthCheck(3), poor, poor, poor, metrics(), poor, poor)


def test_slow_start_is_not_a_collapse() -> None:
    """A network that is no better than a flat object, but whose loss still falls."""
    judge(HealthCheck(2), *[metrics(1 - 0.01 * k, explained=-0.1) for k in range(20)])


def test_logarithmic_loss_may_be_negative() -> None:
    judge(HealthCheck(2), *[metrics(-2 - 0.01 * k, explained=-0.1) for k in range(20)])
    with pytest.raises(TrainingError):
        judge(HealthCheck(2), *[metrics(-2 + 0.01 * k, explained=-0.1) for k in range(4)])


def test_nothing_to_explain_is_not_a_collapse() -> None:
    noise_only = metrics(object_std=0.0)
    del noise_only["explained"]
    judge(HealthCheck(2), *[noise_only] * 10)


@pytest.mark.parametrize("name", ["val_loss", "residual", "train_loss"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_metrics_must_be_finite(name: str, value: float) -> None:
    with pytest.raises(TrainingError, match=f"the {name} must stay finite, received {value}"):
        HealthCheck(5).judge(1, {**metrics(), name: value})


def test_health_survives_a_checkpoint() -> None:
    poor = metrics(explained=-0.2)
    check = HealthCheck(3)
    judge(check, poor, poor, poor)
    other = HealthCheck(3)
    other.load_state_dict(check.state_dict())
    with pytest.raises(TrainingError):
        other.judge(4, poor)


# --- watched metrics ------------------------------------------------------------------------------


def predicted(measured: Any, modelled: Any, good: Any, images: Any) -> Prediction:
    return Prediction(
        estimates=[Estimate(1.0, modelled, measured)],
        good=good,
        images=images,
        weight=np.ones(images.shape[-2:], np.float32),
        truth=None,
    )


def test_watch_follows_its_formulas() -> None:
    """Against direct sums over two scans with different scales, in several batches."""
    rng = np.random.default_rng(0)
    n, scales = 16, [0.1, 0.02]
    good = np.ones((n, n), np.float32)
    good[3, 4] = 0
    vacuum = [rng.uniform(1, 2, (n, n)).astype(np.float32) for _ in scales]
    watch = FitWatch(scales)
    d = e = f = total = 0.0
    a_parts, b_parts, losses = [], [], []
    for number, scale in enumerate(scales):
        counts = rng.poisson(rng.gamma(2, 50, size=(12, n, n)))
        measured = (counts * scale**2).astype(np.float32)
        modelled = (measured * rng.uniform(0.8, 1.2, measured.shape)).astype(np.float32)
        for part in np.split(np.arange(12), 3):
            image = rng.normal(1, 0.1, (4, n, n)).astype(np.complex64)
            losses.append(rng.random())
            watch.add(number, predicted(measured[part], modelled[part], good, image), losses[-1])
        root, mean = np.sqrt(measured, dtype=float), np.sqrt(measured, dtype=float).mean(axis=0)
        d += (good * (np.sqrt(modelled, dtype=float) - root) ** 2).sum()
        total += (good * measured).sum(dtype=float)
        bare = good * vacuum[number]
        bare = bare / bare.sum(dtype=float) * (good * measured).sum(dtype=float) / 12
        f += (good * (np.sqrt(bare) - root) ** 2).sum()
        e += 12 * scale**2 * (good * noise_of_amplitude(counts.mean(axis=0))).sum()
        a_parts.append((good * (np.sqrt(modelled, dtype=float) - mean)).ravel())
        b_parts.append((good * (root - mean)).ravel())
    found = watch.metrics(lambda k: vacuum[k])
    a, b = np.concatenate(a_parts), np.concatenate(b_parts)
    assert found["val_loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert found["residual"] == pytest.approx(d / total, rel=1e-5)
    assert found["explained"] == pytest.approx((f - d) / (f - e), rel=1e-4)
    assert found["correlation"] == pytest.approx((a @ b) / np.sqrt((a @ a) * (b @ b)), rel=1e-4)
    assert found["object_std"] == pytest.approx(0.1, rel=0.1)
    assert watch.metrics(lambda k: vacuum[k]) == {}


def watched_scan(scan: Scan, modelled: Any = None, groups: int = 4) -> dict[str, float]:
    """Metrics of a scan with the given expected counts; those of a flat object when not given."""
    p = prepare(scan)
    a2 = p.input_scale**2
    bare = np.asarray(vacuum_pattern(p.probe), np.float64)
    flat = np.broadcast_to(bare * (scan.N**2 / 4) / bare.sum(), (scan.M, scan.N, scan.N))
    model = flat if modelled is None else modelled * a2
    watch = FitWatch([p.input_scale])
    for part in np.array_split(np.arange(scan.M), groups):
        one = np.ones((1, 8, 8), np.complex64)
        measured = p.amplitudes(part) ** 2
        good = np.ones((scan.N, scan.N), np.float32)
        step = predicted(measured, model[part].astype(np.float32), good, one)
        watch.add(0, step, 0.0)
    return watch.metrics(lambda _: bare)


@pytest.mark.parametrize("photons", [1e3, 1e5, 1e9])
def test_flat_object_explains_nothing_and_the_truth_everything(photons: float) -> None:
    settings = SimulationConfig(N=32, patterns=100, photons=photons, seed=5)
    noisy = simulate(settings)
    expected = simulate(settings.model_copy(update={"poisson": False}))
    flat, perfect = watched_scan(noisy), watched_scan(noisy, np.asarray(expected.diffraction))
    assert flat["explained"] == pytest.approx(0, abs=0.02)
    assert perfect["explained"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("photons", [300, 1e4, 1e6])
@pytest.mark.parametrize("patterns", [9, 100])
def test_noise_is_nothing_to_explain(photons: float, patterns: int) -> None:
    flat = SimulationConfig(
        N=32, patterns=patterns, photons=photons, amplitude=(1, 1), phase=(0, 0), seed=6
    )
    assert "explained" not in watched_scan(simulate(flat))


def test_watched_metrics_do_not_depend_on_the_batches(scan: Scan) -> None:
    """Also not with one pattern per batch, which on its own varies from nothing."""
    whole, single = watched_scan(scan, groups=1), watched_scan(scan, groups=scan.M)
    assert single == pytest.approx(whole, rel=1e-5)


def test_metrics_of_the_best_epoch() -> None:
    history = {"val_loss": [(1, 2.0), (2, 1.0), (3, 1.5)], "residual": [(2, 0.1), (3, 0.2)]}
    assert metrics_at_best(history) == {"epoch": 2, "val_loss": 1.0, "residual": 0.1}
    assert metrics_at_best({}) == {}


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_remembered(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    flag = StopFlag()
    flag.check()
    with flag.installed():
        signal.raise_signal(number)
        with pytest.raises(Stopped):
            flag.check()
    assert flag.signal == number
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_second_signal_acts_at_once(number: signal.Signals, error: type[BaseException]) -> None:
    before = signal.getsignal(number)
    with pytest.raises(error) as raised, StopFlag().installed():
        signal.raise_signal(number)
        signal.raise_signal(number)  # still the same one: to the process and to its group
        time.sleep(SAME_WITHIN_S + 0.05)
        signal.raise_signal(number)
        raise AssertionError("the second signal must not return")
    if isinstance(raised.value, SystemExit):
        assert raised.value.code == 143
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_a_command(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as raised, Signals().installed():
        signal.raise_signal(number)
        raise AssertionError("the signal must not return")
    assert raised.value.number == number
    assert signal.getsignal(number) is before


def test_the_same_signal_again_does_not_disturb_the_saving() -> None:
    """It may come when the flag has been taken down already."""
    with Signals().installed():
        flag = StopFlag()
        with flag.installed():
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        time.sleep(SAME_WITHIN_S + 0.05)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
    assert flag.signal == signal.SIGTERM


def test_a_signal_that_a_package_swallowed_stops_the_training_before_it_begins() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted), Signals().installed():
        with suppress(BaseException):  # as some packages do while they are imported
            signal.raise_signal(signal.SIGINT)
        with StopFlag().installed():
            raise AssertionError("the training must not begin")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", ENDING)
def test_signals_are_left_to_a_caller_who_handles_them(number: signal.Signals) -> None:
    """``nohup`` ignores SIGHUP, shells ignore Ctrl-C for what runs in the background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with Signals().installed(), StopFlag().installed():
            assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


# --- data -----------------------------------------------------------------------------------------


class Broken:
    """Patterns whose file is damaged."""

    def __init__(self, patterns: Any) -> None:
        self.shape, self.dtype = patterns.shape, patterns.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        raise InputError("the file must stay as it is, received another; load it again.")


@pytest.mark.parametrize("threads", [0, 2])
def test_unreadable_patterns_are_one_sentence(prepared: PreparedScan, threads: int) -> None:
    broken = replace(
        prepared, scan=replace(prepared.scan, diffraction=Broken(prepared.scan.diffraction))
    )
    works = GroupPlan([prepared.scan], config()).epoch(0)
    with pytest.raises(InputError) as raised, reading(threads, False) or nullcontext() as readers:
        list(read_ahead(lambda work: read_batch([broken], work, config()), works, readers, 4))
    assert str(raised.value) == "the file must stay as it is, received another; load it again."


def test_reading_ahead_keeps_the_order_and_stops_with_its_reader() -> None:
    """However long single batches take; what nobody waits for any more is not read."""
    for threads in (0, 1, 3):
        begun: list[int] = []

        def read(work: int, begun: list[int] = begun) -> int:
            begun.append(work)
            if work % 3 == 0:
                time.sleep(0.01)
            return -work

        with reading(threads, False) or nullcontext() as readers:
            found = read_ahead(read, range(20), readers, 2 * threads)
            assert list(found) == [-k for k in range(20)]
            begun.clear()
            batches = read_ahead(read, range(1000), readers, 2 * threads)
            assert next(batches) == 0
            batches.close()
        assert len(begun) <= 1 + 2 * threads + threads


def test_truth_of_patches_is_the_object_at_the_positions(prepared: PreparedScan) -> None:
    """Whole positions cut the object, fractions move it."""
    scan = prepared.scan
    assert scan.object is not None
    obj, n = scan.object / np.complex64(prepared.object_scale), scan.N
    whole = np.array([[[20.0, 22.0], [25.0, 21.0]]])
    for patch, (y, x) in zip(patch_truth(prepared, whole)[0], whole[0].astype(int), strict=True):
        expected = obj[y - n // 2 : y + n // 2, x - n // 2 : x + n // 2]
        np.testing.assert_allclose(patch, expected, atol=1e-5)
    (between,) = patch_truth(prepared, np.array([[[20.25, 22.0]]]))[0]
    one = np.fft.fft(patch_truth(prepared, whole)[0, 0], axis=0)
    ramp = np.exp(2j * np.pi * 0.25 * np.fft.fftfreq(n))[:, None]
    np.testing.assert_allclose(between, np.fft.ifft(one * ramp, axis=0), atol=1e-5)
    assert needs_truth(config(loss={"realspace_mae_weight": 0.1}))
    assert not needs_truth(config())


# --- the loop -------------------------------------------------------------------------------------


class Recorder(Silent):
    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.losses: list[float] = []

    def epoch(self, number: int, steps: int) -> None:
        self.epochs.append(number)

    def step(self, loss: float, patterns_per_s: float) -> None:
        self.losses.append(loss)


def run_training(
    backend: str,
    prepared: PreparedScan,
    settings: Config,
    folder: Path,
    resume: bool = False,
    **options: Any,
) -> tuple[Any, Recorder]:
    recorder = Recorder()
    if backend == "pytorch":
        options = {"threads": 1, **options}
    xp = operations(backend, **options)
    result = train(xp, [prepared], settings, folder, resume=resume, progress=recorder)
    return result, recorder


@pytest.mark.parametrize(
    ("loss", "model"),
    [
        (2.0, SMALL),
        (-2.0, SMALL),
        (2.0, CNN),
    ],
)
def test_rate_falls_on_a_plateau(
    loss: float, model: dict[str, Any], prepared: PreparedScan
) -> None:
    """Also when the loss is a logarithm and negative."""
    training = {"scheduler": "plateau", "plateau_patience": 2, "warmup_steps": 0}
    settings = config(training, model=model, data={"n_groups": 3})
    network = built_network(NumpyOps(), settings)
    schedule = group_task(settings, network, [prepared]).schedule()
    factors = []
    for _ in range(8):
        schedule.epoch_done(loss)
        factors.append(schedule.factor(0))
    half = settings.training.plateau_factor
    assert factors == [1, 1, 1, half, half, half, half**2, half**2]


def test_plateau_and_cosine_are_those_of_pytorch() -> None:
    """Which the recipes were found with."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    losses = np.concatenate([1 - 0.1 * np.arange(5), 0.6 + 0.1 * rng.random(20)])
    weight = torch.nn.Parameter(torch.zeros(1))
    for relative in (True, False):
        settings = config({"scheduler": "plateau", "warmup_steps": 0})
        ours = Schedule(settings, 1, relative)
        optimizer = torch.optim.SGD([weight], lr=1.0)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.5, patience=2, threshold_mode="rel" if relative else "abs"
        )
        for loss in losses:
            ours.epoch_done(loss)
            theirs.step(loss)
            assert ours.factor(0) == optimizer.param_groups[0]["lr"]
    cosine = Schedule(config({"scheduler": "cosine", "warmup_steps": 4}), 20, True)
    assert [cosine.factor(k) for k in range(4)] == pytest.approx(
        [(k + 1) / 5 * (0.505 + 0.495 * np.cos(np.pi * k / 20)) for k in range(4)]
    )
    assert cosine.factor(10) == pytest.approx(0.505)
    assert cosine.factor(25) == pytest.approx(0.01)


def test_torch_settings_are_restored(prepared: PreparedScan, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    run_training("pytorch", prepared, config({"epochs": 1}), tmp_path)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_shown_loss_does_not_depend_on_accumulation(
    backend: str, prepared: PreparedScan, tmp_path: Path
) -> None:
    """The first step sees the same network, however many gradients are added up after it."""
    settings = [config({"epochs": 1, "batch_size": size}, model=ONCE) for size in (1, 3)]
    (_, single), (_, three) = (
        run_training(backend, prepared, chosen, tmp_path / str(k))
        for k, chosen in enumerate(settings)
    )
    assert three.losses[0] == pytest.approx(single.losses[0], rel=1e-6)
    assert three.losses[1] != single.losses[1]


@pytest.mark.parametrize("model", [SMALL, CNN])
def test_threads_that_read_change_nothing(
    model: dict[str, Any], prepared: PreparedScan, tmp_path: Path
) -> None:
    settings = config({"epochs": 1}, model=model, data={"n_groups": 5})
    (plain, _), (ahead, _) = (
        run_training("pytorch", prepared, settings, tmp_path / str(n), num_workers=n)
        for n in (0, 2)
    )
    assert plain.history == ahead.history
    assert all(np.array_equal(plain.weights[k], ahead.weights[k]) for k in plain.weights)


def test_steps_without_photons_are_no_divergence(scan: Scan, tmp_path: Path) -> None:
    """One dark pattern in a batch of its own must not end a training."""
    counts = np.array(scan.diffraction)
    counts[::7] = 0
    settings = config(
        {"epochs": 1, "batch_size": 1},
        model=CNN,
        data={"n_groups": 20},
    )
    dark = prepare(replace(scan, diffraction=counts))
    result, _ = run_training("pytorch", dark, settings, tmp_path)
    assert np.isfinite(result.history["train_loss"][0][1])


@pytest.mark.parametrize("fatal", [True, False])
def test_last_look_at_the_best_epoch(fatal: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A run shorter than the patience: a bad start is a warning, a divergence an error."""

    def history(explained: float) -> Any:
        values = metrics(explained=explained).items()
        return {name: [(1, value)] for name, value in values}

    judge_result(history(0.5), fatal)
    assert caplog.text == ""
    judge_result(history(-0.1), fatal)
    assert "train for more epochs" in caplog.text
    if fatal:
        with pytest.raises(TrainingError, match="diverged; lower learning_rate"):
            judge_result(history(-3), fatal)
    else:
        judge_result(history(-3), fatal)


def test_weights_that_are_not_finite_are_refused(prepared: PreparedScan) -> None:
    with pytest.raises(TrainingError, match="weights must stay finite"):
        check_finite({"step": np.array([np.nan], np.float32)}, prepared.scan.probe)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("model", [ONCE, CNN])
def test_a_resumed_run_repeats_every_bit(
    backend: str, model: dict[str, Any], prepared: PreparedScan, tmp_path: Path
) -> None:
    """With all that has a state: trained probes, accumulated gradients, a schedule on a plateau.

    The folder may be moved: the best weights so far are found again, wherever it is.
    """

    def settings(epochs: int) -> Config:
        training = {"epochs": epochs, "probe_trainable": True, "batch_size": 2}
        training |= {"scheduler": "plateau", "plateau_patience": 0, "warmup_steps": 3}
        data = {"n_groups": 5} if model is CNN else {"n_groups": 5, "subscan_patterns": 20}
        return config(training, model=model, data=data)

    whole, _ = run_training(backend, prepared, settings(3), tmp_path / "whole")
    run_training(backend, prepared, settings(1), tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    resumed, recorder = run_training(backend, prepared, settings(3), tmp_path / "there", True)
    assert recorder.epochs == [1, 2]
    assert resumed.history == whole.history
    assert all(np.array_equal(whole.weights[k], resumed.weights[k]) for k in whole.weights)
    assert np.array_equal(whole.probe, resumed.probe)
    assert not np.array_equal(whole.probe, prepared.scan.probe)
    for name in ("best.ckpt", "last.ckpt"):
        one, other = (
            read_checkpoint(tmp_path / run / "checkpoints" / name) for run in ("whole", "there")
        )
        assert set(one.arrays) == set(other.arrays)
        assert all(np.array_equal(one.arrays[k], other.arrays[k]) for k in one.arrays)


def test_checkpoints_of_all_frameworks_have_one_layout(
    prepared: PreparedScan, tmp_path: Path
) -> None:
    """Only the name of the backend differs, and the last digits."""
    layouts = []
    for backend in BACKENDS:
        run_training(backend, prepared, config({"epochs": 1}), tmp_path / backend)
        found = read_checkpoint(tmp_path / backend / "checkpoints" / "last.ckpt")
        assert found.backend == backend
        layouts.append((set(found.state), {k: v.shape for k, v in found.arrays.items()}))
    assert layouts[0] == layouts[1]


@pytest.mark.parametrize("damage", ["epoch", "monitor", "engine", "array", "shape", "run"])
def test_a_damaged_state_is_one_sentence(
    damage: str, prepared: PreparedScan, tmp_path: Path
) -> None:
    run_training("pytorch", prepared, config({"epochs": 1}), tmp_path)
    path = tmp_path / "checkpoints" / "last.ckpt"
    whole = read_checkpoint(path)
    state, arrays = dict(whole.state), dict(whole.arrays)
    first = next(iter(arrays))
    if damage == "array":
        del arrays[first]
    elif damage == "shape":
        arrays[first] = np.zeros((1, 2, 3), np.float32)
    else:
        state[damage] = ["nothing that was written"]
    write_checkpoint(path, Checkpoint(whole.backend, state, arrays))
    with pytest.raises(InputError, match=r"the training checkpoint .* damaged"):
        run_training("pytorch", prepared, config({"epochs": 2}), tmp_path, resume=True)


def test_another_backend_cannot_resume(prepared: PreparedScan, tmp_path: Path) -> None:
    run_training("pytorch", prepared, config({"epochs": 1}), tmp_path)
    with pytest.raises(InputError, match="use the backend pytorch"):
        run_training("tensorflow", prepared, config({"epochs": 2}), tmp_path, resume=True)


def test_early_stop_stays_stopped(prepared: PreparedScan, tmp_path: Path) -> None:
    settings = config({"epochs": 50, "early_stopping": 1, "learning_rate": 0.05})
    first, recorder = run_training("pytorch", prepared, settings, tmp_path)
    assert 1 < len(recorder.epochs) < 50
    again, recorder = run_training("pytorch", prepared, settings, tmp_path, resume=True)
    assert recorder.epochs == []
    assert again.history == first.history


def test_a_flag_stops_the_run_after_a_step(prepared: PreparedScan, tmp_path: Path) -> None:
    """What the epochs before have reached is kept; without one, what the steps have."""
    stop = StopFlag()

    class Stopping(Recorder):
        def step(self, loss: float, patterns_per_s: float) -> None:
            super().step(loss, patterns_per_s)
            if len(self.losses) == 4:
                signal.raise_signal(signal.SIGTERM)

    heard = Stopping()
    xp = operations("pytorch", threads=1)
    found = train(xp, [prepared], config({"epochs": 9}), tmp_path, progress=heard, stop=stop)
    assert len(heard.losses) == 4 and found.stopped_by == stop.signal == signal.SIGTERM
    assert len(found.history["val_loss"]) == 1


def test_an_option_that_a_run_did_not_know_has_its_default() -> None:
    """A run of an earlier version goes on, unless the option is set to something else."""
    recorded = Config(model=CNN).model_dump(mode="json")
    del recorded["model"]["probe_input"]
    check_config({"config": recorded}, Config(model=CNN))
    with pytest.raises(InputError, match="probe_input=channels where it has none"):
        check_config({"config": recorded}, Config(model={**CNN, "probe_input": "channels"}))


def test_early_stopping_patience_may_change() -> None:
    def monitor(patience: int) -> Monitor:
        settings = config({"early_stopping": patience})
        return Monitor(settings, Schedule(settings, 1, relative=True), Silent())

    one, longer = monitor(1), monitor(3)
    for epoch, loss in enumerate((1.0, 2.0)):
        one.epoch_done(epoch, metrics(loss))
    assert one.over
    longer.load_state_dict(one.state_dict())
    assert not longer.over
    longer.epoch_done(2, metrics(2.0))
    longer.epoch_done(3, metrics(2.0))
    assert longer.over and not longer.improved


def test_no_early_stopping_never_stops() -> None:
    stopping = EarlyStopping(None)
    for _ in range(100):
        stopping.epoch_done(1.0)
    assert not stopping.over


def test_truth_is_missed_before_anything_is_written(scan: Scan, tmp_path: Path) -> None:
    unknown = prepare(replace(scan, object=None))
    with pytest.raises(InputError, match="known object"):
        run_training("pytorch", unknown, config(loss={"realspace_mae_weight": 1.0}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_half_precision_needs_a_gpu(prepared: PreparedScan, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a GPU"):
        run_training(
            "pytorch", prepared, config(), tmp_path, accelerator="cpu", precision="16-mixed"
        )
    assert list(tmp_path.iterdir()) == []


def test_mixed_precision_stays_near(prepared: PreparedScan, tmp_path: Path) -> None:
    """The layers run in bfloat16, which has three digits; physics and weights keep single
    precision."""
    settings = config({"epochs": 1}, model=CNN, data={"n_groups": 5})
    found = [
        run_training("pytorch", prepared, settings, tmp_path / p, accelerator="cpu", precision=p)
        for p in ("32", "bf16-mixed")
    ]
    (_, exact), (mixed, near) = found
    assert near.losses == pytest.approx(exact.losses, rel=0.02)
    assert near.losses != exact.losses
    assert all(w.dtype == np.float32 for w in mixed.weights.values())


def test_numpy_does_not_train(prepared: PreparedScan, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="computes no derivatives"):
        train(NumpyOps(), [prepared], config(), tmp_path)
    assert list(tmp_path.iterdir()) == []
