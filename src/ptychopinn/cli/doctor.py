"""``ptychopinn doctor``: is this installation usable, and what would make it so?"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from ptychopinn.ops.base import Ops

Status = Literal["ok", "missing", "error", "info"]

# Package -> how to get it. TensorFlow comes under two names, with the same content.
REMEDIES = {
    "ptychopinn": "pip install ptychopinn",
    "numpy": "pip install ptychopinn",
    "h5py": "pip install ptychopinn",
    "hdf5plugin": "pip install ptychopinn",
    "torch": "pip install 'ptychopinn[pytorch]'",
    "lightning": "pip install 'ptychopinn[pytorch]'",
    "tensorflow": "pip install 'ptychopinn[tensorflow]'",
}
OTHER_NAMES = {"tensorflow": ("tensorflow-cpu",)}
# Releases with malicious code in them, recognised by their version, without importing them.
COMPROMISED = {"lightning": ("2.6.2", "2.6.3"), "pytorch-lightning": ("2.6.2", "2.6.3")}
# Environment variables that change how something is computed.
TELLING = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "HDF5_USE_FILE_LOCKING",
    "HDF5_PLUGIN_PATH",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_CPP_MIN_LOG_LEVEL",
    "MPLBACKEND",
    "PYTHONHASHSEED",
    "LANG",
    "LC_ALL",
    "SLURM_JOB_ID",
)
WHAT_ELSE = (
    "Send this to the developers with the command that you typed, what it shows when "
    "PTYCHOPINN_DEBUG=1 is set, and run.json and log.txt of its folder where there is one."
)
# Largest difference allowed between single and double precision in the self-check.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    status: Status
    value: str
    remedy: str = ""


@click.command("doctor", short_help="Check the installation and the devices.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--report", is_flag=True, help="Print what to send to the developers, as text.")
def command(as_json: bool, report: bool) -> int:
    """Show versions and devices, and check that the physics computes correctly here.

    Ends with exit code 1 when no backend is usable.
    """
    findings, backends = examine()
    usable = bool(backends)
    if report:
        click.echo(report_of(findings))
        return 0 if usable else 1
    if as_json:
        import json

        content = {
            "usable": usable,
            "backends": backends,
            "findings": [asdict(finding) for finding in findings],
        }
        click.echo(json.dumps(content, indent=2))
        return 0 if usable else 1

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title="ptychopinn doctor", title_justify="left")
    for title in ("", "state", "found", "remedy"):
        table.add_column(title)
    styles = {"ok": "green", "missing": "yellow", "error": "bold red", "info": "cyan"}
    for finding in findings:
        table.add_row(
            Text(finding.name),
            Text(finding.status, style=styles[finding.status]),
            Text(finding.value),
            Text(finding.remedy),
        )
    console = Console()
    console.print(table)
    if usable:
        console.print(f"Ready to use with: {', '.join(backends)}.", style="green")
    else:
        console.print("No backend is usable; see the remedies above.", style="bold red")
    return 0 if usable else 1


def report_of(findings: list[Finding]) -> str:
    """What developers want to know of this installation, without names of people and folders."""
    lines = ["ptychopinn doctor --report", ""]
    lines += [f"{f.name}: {f.status}, {f.value}" for f in findings]
    lines += ["", "environment:"]
    set_here = [name for name in TELLING if name in os.environ]
    lines += [f"  {name}={os.environ[name]}" for name in set_here] or ["  nothing that matters"]
    lines += ["", "packages:"]
    known = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    wanted = importlib.metadata.requires("ptychopinn") or []
    names = sorted({re.split(r"[^\w.-]", need, maxsplit=1)[0] for need in wanted})
    lines += [f"  {name} {known[name]}" for name in names if name in known]
    lines += ["", WHAT_ELSE]
    home = str(Path.home())
    return "\n".join(lines).replace(home, "~") if len(home) > 1 else "\n".join(lines)


def examine() -> tuple[list[Finding], list[str]]:
    """All findings, and the names of the usable backends."""
    findings = [Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")]
    packages = [package(name) for name in REMEDIES]
    findings += packages
    state = {finding.name: finding.status for finding in packages}
    if package("pytorch-lightning").status == "error":
        findings.append(package("pytorch-lightning"))
        state["lightning"] = "error"
    findings.append(Finding("CPU cores", "info", str(cores())))
    findings.append(Finding("memory", "info", memory()))
    numpy = check_numpy()
    findings.append(numpy)

    backends: list[str] = []
    if state["torch"] == "ok":
        checks = check_torch()
        findings += checks
        if state["lightning"] == "ok" and all(c.status in ("ok", "info") for c in checks):
            backends.append("pytorch")
    if state["tensorflow"] == "ok":
        checks = check_tensorflow()
        findings += checks
        if all(c.status in ("ok", "info") for c in checks):
            backends.append("tensorflow")
    slow = [name for name in ("torch", "tensorflow") if state[name] == "ok" and uncompiled(name)]
    if slow:
        findings.append(
            Finding(
                "start of commands",
                "info",
                f"Python compiles {' and '.join(slow)} anew each time, which takes seconds",
                f"python -m compileall -q '{sysconfig.get_path('purelib')}'",
            )
        )
    if numpy.status == "ok":
        # It reconstructs and refines; the others are found first.
        backends.append("numpy")
    return findings, backends


def package(name: str) -> Finding:
    """Version of an installed package, read without importing it."""
    found = [_version(known) for known in (name, *OTHER_NAMES.get(name, ()))]
    version = next((v for v in found if v is not None), None)
    if version is None:
        return Finding(name, "missing", "not installed", REMEDIES.get(name, ""))
    if version in COMPROMISED.get(name, ()):
        return Finding(
            name,
            "error",
            f"{version}, a compromised release that must not be imported",
            f"pip uninstall -y {name} && pip install '{name}>=2.6.4', then change your passwords "
            "and tokens",
        )
    return Finding(name, "ok", version)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def uncompiled(name: str) -> bool:
    """Whether Python keeps no compiled form of an installed package that was imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return False
    return not Path(importlib.util.cache_from_source(spec.origin)).exists()


def cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> str:
    """Size of the main memory."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return "unknown on this system"
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"


def check_numpy() -> Finding:
    """Does the forward model conserve energy and invert fields in double precision?"""
    import numpy as np

    from ptychopinn.ops.numpy import NumpyOps
    from ptychopinn.physics import forward

    canvas, probe, positions = _example()
    xp, n = NumpyOps(), probe.shape[-1]
    empty = np.zeros((len(positions), n, n))
    batch = forward.pattern_batch(xp, empty, positions, canvas.shape, (0, 0), probe)
    way, fields, counted = forward.modelled(xp, forward.FAR_FIELD, canvas, batch)
    waves = forward.exit_waves(xp, batch.probes, way.patches[0])
    light = abs(float(counted.sum() / (np.abs(waves) ** 2).sum()) - 1)
    back, _ = forward.backward(xp, forward.FAR_FIELD, fields, batch, way)
    worst = max(light, float(np.abs(back - waves).max()))
    if not worst < 1e-10:
        return Finding(
            "physics, NumPy",
            "error",
            f"wrong by {worst:.1e}",
            "pip install --force-reinstall numpy",
        )
    return Finding("physics, NumPy", "ok", f"exact to {worst:.0e}")


def check_torch() -> list[Finding]:
    """The devices of PyTorch, each with the forward model compared to the reference."""
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:
        return [_unusable("torch", error)]
    devices = {"cpu": "CPU"}
    devices |= {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(_cuda_count())}
    errors = (RuntimeError, NotImplementedError, TypeError)
    return _check_devices("torch", devices, _torch_difference, errors)


def check_tensorflow() -> list[Finding]:
    """The devices of TensorFlow, each with the forward model compared to the reference."""
    try:
        import ptychopinn.ops.tensorflow  # noqa: F401 - imports it quietly
    except (ImportError, OSError, RuntimeError) as error:
        return [_unusable("tensorflow", error)]
    import tensorflow as tf

    devices = {"cpu": "CPU"}
    gpus = tf.config.list_physical_devices("GPU")
    for number, gpu in enumerate(gpus):
        details = tf.config.experimental.get_device_details(gpu)
        devices[f"gpu:{number}"] = details.get("device_name", "GPU")
    errors = (tf.errors.OpError, RuntimeError, ValueError)
    return _check_devices("tensorflow", devices, _tensorflow_difference, errors)


def _unusable(package: str, error: Exception) -> Finding:
    reason = " ".join(str(error).split())[:200]
    return Finding(package, "error", f"cannot be imported: {reason}", _again(package))


def _again(package: str) -> str:
    return f"pip install --force-reinstall {package}"


def _check_devices(
    package: str,
    devices: Mapping[str, str],
    difference: Callable[[str], float],
    errors: tuple[type[Exception], ...],
) -> list[Finding]:
    findings = []
    for device, label in devices.items():
        name = f"physics, {package} {device}"
        remedy = _again(package)
        try:
            worst = difference(device)
        except errors as error:
            reason = " ".join(str(error).split())[:200]
            # The CPU must work; another device may be unable, and is then simply not for use.
            status: Status = "error" if device == "cpu" else "info"
            findings.append(Finding(name, status, f"{label}: fails ({reason})", remedy))
            continue
        good = worst < TOLERANCE
        value = f"{label}: agrees to {worst:.0e}" if good else f"{label}: wrong by {worst:.1e}"
        findings.append(Finding(name, "ok" if good else "error", value, "" if good else remedy))
    if len(devices) == 1:
        findings.append(Finding("GPU", "info", f"none found by {package}; the CPU is used"))
    return findings


def _cuda_count() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _torch_difference(device: str) -> float:
    """Largest difference of the patterns of PyTorch and of NumPy, relative to the peak."""
    from ptychopinn.ops.options import TorchExecution
    from ptychopinn.ops.torch import TorchOps

    xp = TorchOps(TorchExecution(accelerator="cpu" if device == "cpu" else "cuda"))
    return _difference(xp)


def _tensorflow_difference(device: str) -> float:
    """The same for TensorFlow."""
    from ptychopinn.ops.options import TFExecution
    from ptychopinn.ops.tensorflow import TensorflowOps

    xp = TensorflowOps(TFExecution(accelerator="cpu" if device == "cpu" else "cuda"))
    return _difference(xp)


def _difference(xp: Ops) -> float:
    import numpy as np

    from ptychopinn.physics.forward import intensities, predict

    canvas, probe, positions = _example()
    with xp.running():
        ((_, found),) = predict(xp, canvas.astype(np.complex64), probe, positions)
    expected = intensities(canvas, probe, positions)
    return float(np.abs(found - expected).max() / expected.max())


def _example():  # type: ignore[no-untyped-def]
    """A small complex object, two probe modes and positions with fractions of a pixel."""
    import numpy as np

    generator = np.random.default_rng(0)
    n = 32

    def field(*shape: int):  # type: ignore[no-untyped-def]
        return generator.normal(size=shape) + 1j * generator.normal(size=shape)

    return field(48, 50), field(2, n, n), np.array([[16.0, 17.0], [20.3, 24.8], [31.4, 30.5]])
