"""The operations in TensorFlow.

No length is fixed when a function is traced, so that batches and canvases of all sizes share one
graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from functools import cache, partial
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError
from ptychopinn.machine.processes import FirstUse
from ptychopinn.machine.threads import Threads, available, cores
from ptychopinn.machine.workers import MOST_WORKERS, Workers
from ptychopinn.ops.base import Ops, Padding
from ptychopinn.ops.options import TFExecution
from ptychopinn.ops.tensorflow_import import undisturbed
from ptychopinn.ops.tensorflow_layers import TensorflowLayers
from ptychopinn.ops.tensorflow_threads import chosen_threads, shared_threads, use_threads

if TYPE_CHECKING:
    from ptychopinn.ops.engine import Engine

with undisturbed():
    import tensorflow as tf
    from tensorflow import Tensor

first_use = FirstUse()
# A function that is traced may call others.
tracing = RLock()


def device_of(execution: TFExecution) -> str:
    """The device to use; ``auto`` is a GPU when there is one.

    Raises InputError when a GPU is asked for and not available."""
    available = bool(tf.config.list_physical_devices("GPU"))
    if execution.accelerator == "cuda" and not available:
        raise InputError(
            "accelerator 'cuda' needs a CUDA device and a CUDA build of tensorflow, received none; "
            "use the accelerator cpu or auto."
        )
    return "/GPU:0" if available and execution.accelerator != "cpu" else "/CPU:0"


class TensorflowOps(TensorflowLayers):
    """TensorFlow on one device. The places of patches are the flat pixels of all their pixels.

    On a CPU, batches are worked on side by side: its cores hardly share an operation.
    """

    name: ClassVar[str] = "tensorflow"
    builds_graphs: ClassVar[bool] = True
    out_of_memory: ClassVar[type[Exception]] = tf.errors.ResourceExhaustedError
    remedy: ClassVar[str] = "lower tf_inference_batch_mib or use the accelerator cpu"
    # Calling a graph costs as much as some patterns, so batches are larger than the caches.
    batch_bytes: int = 32 << 20
    batch_canvases: ClassVar[int] = 2

    def __init__(self, execution: TFExecution | None = None) -> None:
        self.execution = TFExecution() if execution is None else execution
        use_threads(self.execution.threads, self.execution.side_by_side)
        self.device = device_of(self.execution)
        self._workers: Workers | None = None
        self._threads: Threads | None = None
        # Graphs of functions that hold weights: they end with their model.
        self._graphs: dict[Any, Any] = {}

    # --- arrays in and out ------------------------------------------------------------------------

    def asarray(self, values: Any) -> Tensor:
        array = np.asarray(values)
        # Indices: the kernels are faster with 32 bit.
        return tf.constant(array.astype(np.int32) if array.dtype == np.int64 else array)

    def to_numpy(self, x: Tensor) -> NDArray[Any]:
        found: NDArray[Any] = x.numpy()
        return found

    def shape(self, x: Tensor) -> tuple[Any, ...]:
        fixed = x.shape.as_list()
        if None not in fixed:
            return tuple(fixed)
        found = tf.shape(x)
        return tuple(found[k] if side is None else side for k, side in enumerate(fixed))

    def astype(self, x: Tensor, like: Tensor) -> Tensor:
        return tf.cast(x, like.dtype.real_dtype)

    def zeros(self, shape: Sequence[Any], like: Tensor) -> Tensor:
        return tf.zeros(tf.stack(list(shape)), like.dtype)

    ones_like = staticmethod(tf.ones_like)
    zeros_like = staticmethod(tf.zeros_like)
    detached = staticmethod(tf.stop_gradient)

    # --- elementwise ------------------------------------------------------------------------------

    real = staticmethod(tf.math.real)
    imag = staticmethod(tf.math.imag)
    conj = staticmethod(tf.math.conj)
    complex = staticmethod(tf.complex)
    abs = staticmethod(tf.abs)
    square = staticmethod(tf.square)
    sqrt = staticmethod(tf.sqrt)
    log = staticmethod(tf.math.log)
    sin = staticmethod(tf.sin)
    floor = staticmethod(tf.floor)

    def scaled(self, x: Tensor, factor: Any) -> Tensor:
        real = _in_precision(factor, x.dtype.real_dtype)
        return x * tf.complex(real, tf.zeros_like(real))

    def rotation(self, phase: Tensor) -> Tensor:
        return tf.complex(tf.cos(phase), tf.sin(phase))

    def maximum(self, x: Tensor, least: Any) -> Tensor:
        return tf.maximum(x, _in_precision(least, x.dtype))

    def where(self, condition: Tensor, x: Tensor, otherwise: Tensor) -> Tensor:
        return tf.where(condition, x, otherwise)

    # --- along axes -------------------------------------------------------------------------------

    def sum(self, x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
        return tf.reduce_sum(x, axis=list(axis) if isinstance(axis, tuple) else axis)

    def mean(self, x: Tensor, axis: tuple[int, ...]) -> Tensor:
        return tf.reduce_mean(x, axis=list(axis), keepdims=True)

    max = staticmethod(tf.reduce_max)

    def stack(self, arrays: Sequence[Tensor], axis: int = 0) -> Tensor:
        return tf.stack(list(arrays), axis=axis)

    def concat(self, arrays: Sequence[Tensor], axis: int = 0) -> Tensor:
        return tf.concat(list(arrays), axis=axis)

    def reshape(self, x: Tensor, shape: Sequence[Any]) -> Tensor:
        return tf.reshape(x, tf.stack(list(shape)) if len(shape) else [])

    def broadcast_to(self, x: Tensor, shape: Sequence[Any]) -> Tensor:
        return tf.broadcast_to(x, tf.stack(list(shape)))

    permute_dims = staticmethod(tf.transpose)
    roll = staticmethod(tf.roll)

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        return tf.linalg.matvec(x, y) if len(y.shape) == 1 else tf.matmul(x, y)

    def pad(self, x: Tensor, before: Sequence[Any], after: Sequence[Any], mode: Padding) -> Tensor:
        if mode == "zero":
            width = [[0, 0]] * (len(x.shape) - 2)
            width += [[b, a] for b, a in zip(before, after, strict=True)]
            return tf.pad(x, tf.stack([tf.stack(pair) for pair in width]))
        rows = [tf.repeat(x[..., :1, :], before[0], axis=-2), x]
        x = tf.concat([*rows, tf.repeat(x[..., -1:, :], after[0], axis=-2)], axis=-2)
        columns = [tf.repeat(x[..., :1], before[1], axis=-1), x]
        return tf.concat([*columns, tf.repeat(x[..., -1:], after[1], axis=-1)], axis=-1)

    # --- transforms -------------------------------------------------------------------------------

    def fft2(self, x: Tensor) -> Tensor:
        # Without the factor that makes it unitary, which would be one more pass over the array.
        return tf.signal.fft2d(x)

    def ifft2(self, x: Tensor) -> Tensor:
        return tf.signal.ifft2d(x)

    def fft_power(self, n: Any) -> Any:
        side = tf.cast(n, tf.float64)
        return 1 / (side * side)

    def rfft2(self, x: Tensor, shape: tuple[Any, Any] | None = None) -> Tensor:
        if shape is not None:
            have = self.shape(x)[-2:]
            x = self.pad(x, (0, 0), (shape[0] - have[0], shape[1] - have[1]), "zero")
        with _derivative("RFFT2D", "PtychoPINNHalfSpectrum"):
            kind = tf.complex128 if x.dtype == tf.float64 else tf.complex64
            return tf.raw_ops.RFFT2D(input=x, fft_length=tf.shape(x)[-2:], Tcomplex=kind)

    def irfft2(self, x: Tensor, shape: tuple[Any, Any]) -> Tensor:
        return tf.signal.irfft2d(x, tf.stack(list(shape)))

    def fftfreq(self, n: Any, like: Tensor) -> Tensor:
        k = tf.range(n)
        real = like.dtype.real_dtype
        return tf.cast(tf.where(k < (n + 1) // 2, k, k - n), real) / tf.cast(n, real)

    def number(self, value: Any, like: Tensor) -> Tensor:
        return _in_precision(value, like.dtype)

    def smaller(self, one: Any, other: Any) -> Any:
        if isinstance(one, int) and isinstance(other, int):
            return min(one, other)
        return tf.minimum(one, other)

    def with_shape(self, x: Tensor, shape: Sequence[int | None]) -> Tensor:
        if not x.shape.is_fully_defined():
            x.set_shape(shape)
        return x

    def integers(self, n: Any, like: Tensor) -> Tensor:
        return tf.range(n)

    def as_index(self, x: Tensor) -> Tensor:
        return tf.cast(x, tf.int32)

    # --- patches on a canvas ----------------------------------------------------------------------

    def places(self, corner: Tensor, n: Any, width: Any, first: Any = 0) -> Tensor:
        u = tf.range(n)
        inside = tf.reshape(u[:, None] * width + u[None, :], [-1])
        return (corner[:, 0] * width + corner[:, 1] + first)[:, None] + inside[None, :]

    def gather(self, canvas: Tensor, places: Tensor, n: Any) -> Tensor:
        # On a CPU twice as fast as tf.gather, which copies slices, for single pixels.
        with _derivative("GatherNd", "PtychoPINNGather"):
            pixels = tf.gather_nd(tf.reshape(canvas, [-1]), places[..., None])
        return tf.reshape(pixels, tf.stack([-1, n, n]))

    def spread(self, patches: Tensor, places: Tensor, size: Any) -> Tensor:
        with _derivative("UnsortedSegmentSum", "PtychoPINNSpread"):
            values = tf.reshape(patches, tf.shape(places))
            return tf.math.unsorted_segment_sum(values, places, size)

    def spread_points(self, values: Tensor, pixels: Tensor, size: Any) -> Tensor:
        return tf.math.unsorted_segment_sum(values, pixels, size)

    # --- running ----------------------------------------------------------------------------------

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        of_a_model = "<locals>" in function.__qualname__ or hasattr(function, "__self__")
        within = not tf.executing_eagerly()
        if within and of_a_model:
            # It may hold arrays of the graph that is being traced.
            return function(self, *arguments)
        flat = [
            x if isinstance(x, Tensor) else tf.convert_to_tensor(x)
            for x in tf.nest.flatten(arguments)
        ]
        kinds = tuple(map(type, arguments))
        sorts = tuple((x.dtype, len(x.shape)) for x in flat)
        # What is left out of a tuple, (), is not among the flat ones.
        key = (function, kinds, _nesting(arguments), sorts)
        graphs = self._graphs if of_a_model else _graphs_on(self.device)
        graph = graphs.get(key)
        if graph is None:
            # Of threads that need it one traces it, the others wait.
            with tracing:
                graph = graphs.get(key) or self._traced(function, arguments, sorts)
                graphs[key] = graph
        if within:
            # One node with a derivative, however often the function stands in a loss.
            return graph(*tf.nest.pack_sequence_as(arguments, flat))
        # The short way, which checks no arguments and knows no derivatives.
        found = graph.inference_fn.call_flat(*flat)
        return tf.nest.pack_sequence_as(graph.structured_outputs, found)

    def _traced(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        sorts: Sequence[tuple[Any, int]],
    ) -> Any:
        """The graph of a function for arrays of these types and numbers of axes."""
        specs = [tf.TensorSpec([None] * rank, dtype) for dtype, rank in sorts]
        signature = tf.nest.pack_sequence_as(arguments, specs)
        traced = tf.function(partial(function, self), autograph=False)
        with tf.init_scope():
            return traced.get_concrete_function(*signature)

    def each(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        if self._workers is None or not tf.executing_eagerly():
            return super().each(work, items)
        return self._workers.each(work, items)

    @property
    def threads(self) -> int:
        return shared_threads() or len(cores())

    def apart(self, count: int) -> Sequence[Ops]:
        number = min(count, self._free_threads(), MOST_WORKERS)
        if number < 2:
            return [self]
        found = [copy(self) for _ in range(number)]
        for each in found:
            each._threads = Threads(1, 1)
        return found

    def _free_threads(self) -> int:
        """How many batches are worked on at a time."""
        first_use.check()
        if self._threads is None:
            chosen = chosen_threads()
            own = self.execution.threads is None and self.execution.side_by_side
            self._threads = Threads(chosen or available(), None if own else chosen or None)
        return self._threads.look() if "CPU" in self.device else 1

    @contextmanager
    def computing(self) -> Iterator[None]:
        count = self._free_threads()
        try:
            with tf.device(self.device), Workers(count, partial(tf.device, self.device)) as workers:
                self._workers = workers
                yield
        finally:
            self._workers = None

    def variable(self, values: NDArray[Any]) -> Any:
        return tf.Variable(values)

    def assign(self, variable: Any, values: NDArray[Any]) -> None:
        variable.assign(values)

    def engine(self, variables: Mapping[str, Any]) -> Engine:
        # Imported only to train.
        from ptychopinn.ops.tensorflow_engine import TensorflowEngine

        return TensorflowEngine(self, variables)


def _in_precision(value: Any, dtype: Any) -> Tensor:
    """A number or a tensor of this type; tf.cast alone takes numbers through single precision."""
    return tf.constant(value, dtype) if isinstance(value, int | float) else tf.cast(value, dtype)


def _derivative(operation: str, name: str) -> AbstractContextManager[Any]:
    """Operations of this kind that are added to a graph have the derivative of this name.

    tf.custom_gradient would do, but keeps every graph in which it is used until the process ends.
    """
    if tf.executing_eagerly():
        return nullcontext()
    graph = tf.compat.v1.get_default_graph()
    return cast(AbstractContextManager[Any], graph.gradient_override_map({operation: name}))


@tf.RegisterGradient("PtychoPINNGather")
def _of_gather(operation: Any, upstream: Tensor) -> tuple[Tensor, None]:
    canvas, places = operation.inputs
    return tf.math.unsorted_segment_sum(upstream, places[..., 0], tf.size(canvas)), None


@tf.RegisterGradient("PtychoPINNSpread")
def _of_spread(operation: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
    """The library's own would look for negative places, of which there are none."""
    return tf.gather_nd(upstream, operation.inputs[1][..., None]), None, None


@tf.RegisterGradient("PtychoPINNHalfSpectrum")
def _of_half_spectrum(operation: Any, upstream: Tensor) -> tuple[Tensor, None]:
    """Unlike the library's own an inverse transform of half a spectrum: columns that stand for
    their mirror image too are counted twice there, so they enter with one half."""
    size = operation.inputs[1]
    column = tf.range(size[1] // 2 + 1)
    single = (column == 0) | (2 * column == size[1])
    weight = tf.cast(size[0] * size[1], upstream.dtype)
    weight *= tf.cast(tf.where(single, 1.0, 0.5), upstream.dtype)
    kind = upstream.dtype.real_dtype
    return tf.raw_ops.IRFFT2D(input=upstream * weight, fft_length=size, Treal=kind), None


@cache
def _graphs_on(device: str) -> dict[Any, Any]:
    """Of each function and kind of arguments the graph, for arrays of all sizes.

    Those of functions of modules outlive a call: to trace them again takes as long as a small scan.
    """
    return {}


def _nesting(x: Any) -> Any:
    """Where tuples and lists hold what, without what it is."""
    return tuple(map(_nesting, x)) if isinstance(x, (tuple, list)) else 0
