"""A network in onnxruntime beside the same in PyTorch, TensorFlow and NumPy.

    python benchmarks/onnx_runtime.py [--patterns 256] [--n 64] [--rounds 5]

For each architecture with its default options and drawn weights: patterns per second of the network
alone, medians of rounds that alternate, and the largest difference of the objects.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

from common import arguments, report
from ptychopinn.config import ModelConfig
from ptychopinn.networks.build import BuiltNetwork, initial_weights
from ptychopinn.ops.onnx import OnnxOps
from ptychopinn.ops.onnx_graph import Graph
from ptychopinn.ops.selector import BackendName, choose, get_ops
from ptychopinn.solvers.patches import PatchNetwork

NAMES = ("cnn", "fno", "fno_vanilla", "ffno", "neuralop_uno", "hybrid_resnet", "vit")
BACKENDS: tuple[BackendName, ...] = ("pytorch", "tensorflow")


def in_backend(name: BackendName, config: Any, weights: Any) -> Callable[[Any], Any]:
    xp = get_ops(*choose(name))
    model = PatchNetwork(BuiltNetwork(xp, config.describe(), weights), config.N)

    def objects(x: Any) -> Any:
        with xp.running():
            parameters = list(model.network.parameters.values())
            return xp.to_numpy(xp.call(model.objects, xp.asarray(x), parameters))

    return objects


def in_onnx(config: Any, weights: Any) -> Callable[[Any], Any]:
    xp, graph = OnnxOps(), Graph()
    model = PatchNetwork(BuiltNetwork(xp, config.describe(), weights), config.N)
    given = graph.input("amplitudes", ("batch", 1, config.N, config.N))
    found = model.objects(xp, given, list(model.network.parameters.values()))
    file = graph.model([given], {"real": found.real, "imag": found.imag}, {})
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def objects(x: Any) -> Any:
        real, imag = session.run(None, {"amplitudes": x})
        return real + 1j * imag

    return objects


def main() -> None:
    chosen = arguments(__doc__ or "", patterns=256, n=64, rounds=5)
    rows = []
    for name in NAMES:
        config: Any = ModelConfig(**{"architecture": name, "N": chosen.n})
        # The heads of a new network are zero, which would hide differences.
        rng = np.random.default_rng(2)
        weights = {
            name: w + 0.02 * rng.standard_normal(w.shape).astype(np.float32)
            for name, w in initial_weights(config.describe(), 1).items()
        }
        ways = {"onnxruntime": in_onnx(config, weights)}
        ways |= {backend: in_backend(backend, config, weights) for backend in BACKENDS}
        x = np.random.default_rng(1).random((chosen.patterns, 1, chosen.n, chosen.n))
        x = x.astype(np.float32)
        first = {way: objects(x) for way, objects in ways.items()}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(chosen.rounds):
            for way, objects in ways.items():
                begun = time.perf_counter()
                objects(x)
                seconds[way].append(time.perf_counter() - begun)
        rate = {way: chosen.patterns / statistics.median(s) for way, s in seconds.items()}
        row = {"architecture": name, **{way: round(r, 1) for way, r in rate.items()}}
        row["difference"] = float(
            max(np.abs(first[b] - first["onnxruntime"]).max() for b in BACKENDS)
        )
        rows.append(row)
        print(row, flush=True)
    report("onnx_runtime", chosen.out, rows)


if __name__ == "__main__":
    main()
