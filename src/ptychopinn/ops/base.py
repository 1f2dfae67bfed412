"""What the physics, the solvers and the networks ask of a framework.

Everything above this folder is written once, with the operations of :class:`Ops`; a framework is
one file that offers them. Operations have the names of the Python array API standard where it has
them. Arithmetic, comparison, indexing by slices and ``None`` are written with the operators of the
arrays, which all frameworks share. Real and complex arrays are never mixed by an operator, because
not every framework does that: :meth:`Ops.scaled` multiplies complex by real.

An operation that goes over the canvas takes *places*, made by :meth:`Ops.places`: where patches
lie, in the form that is fastest for the framework.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import InputError, first_line
from ptychopinn.machine.ranks import Ranks, started

if TYPE_CHECKING:
    from ptychopinn.ops.engine import Engine

Array = Any
Padding = Literal["zero", "edge"]
# Of one array, and of two, as the framework calls it.
Function = Callable[[Array], Array]
Function2 = Callable[[Array, Array], Array]
# Of images and a factor.
Resizing = Callable[[Array, int], Array]


@dataclass(frozen=True, eq=False)
class Variable:
    """A named parameter that training changes; ``array`` is the framework's own object."""

    name: str
    array: Array


class Ops(ABC):
    """The operations of one framework on one device.

    Attributes
    ----------
    name : of the backend.
    channels : axis of the channels of images inside a network, 1 or -1.
    batch_bytes : memory of the patterns that one batch works on, what is fastest here.
    tile : side of the parts of a canvas that a network works on at a time, a power of two.
    batch_canvases : a batch is also as large as so many canvases, because each batch fills one.
    out_of_memory : what the framework raises when the memory does not suffice.
    memory_of, remedy : whose memory that is, and what helps then; words of a message.
    activations : relu, swish, softplus, sigmoid, tanh and gelu (with the error function).
    execution : how it runs on this machine.
    ranks : which process this is of those that work :meth:`together` on a scan.
    builds_graphs : whether the first :meth:`call` of a function takes much longer than others.
    """

    name: ClassVar[str]
    builds_graphs: ClassVar[bool] = False
    channels: ClassVar[int] = 1
    batch_bytes: int = 8 << 20
    tile: int = 512
    batch_canvases: ClassVar[int] = 0
    out_of_memory: ClassVar[type[Exception]]
    memory_of: ClassVar[str] = "device"
    remedy: ClassVar[str]
    activations: ClassVar[Mapping[str, Function]]
    execution: Any
    ranks: Ranks = Ranks()

    @abstractmethod
    def __init__(self, execution: Any = None) -> None:
        """With these options of the backend, or its defaults."""

    # --- arrays in and out ------------------------------------------------------------------------

    @abstractmethod
    def asarray(self, values: Any) -> Array:
        """An array of the framework on its device; numbers keep their precision."""

    @abstractmethod
    def to_numpy(self, x: Array) -> NDArray[Any]:
        """The values as a NumPy array, apart from any derivative."""

    @abstractmethod
    def shape(self, x: Array) -> tuple[Any, ...]:
        """Lengths of the axes; what is open while a graph is built is a number of that graph."""

    @abstractmethod
    def astype(self, x: Array, like: Array) -> Array:
        """Real ``x`` in the precision of ``like``, real or complex."""

    @abstractmethod
    def zeros(self, shape: Sequence[Any], like: Array) -> Array:
        """Zeros of the type of ``like``."""

    ones_like: Function
    zeros_like: Function
    # The same values as a constant of every derivative.
    detached: Function

    def amplitudes(self, counts: NDArray[Any], weight: Array, inward: Any = np.asarray) -> Array:
        """sqrt(counts) * weight of patterns (M, N, N) in single precision, on the device;
        ``inward`` brings their pixels into the order of ``weight`` (N, N), which is there."""
        return self.asarray(np.sqrt(inward(counts), dtype=np.float32)) * weight

    def rows(self, array: Any, chosen: NDArray[np.int64]) -> NDArray[Any]:
        """The chosen patterns of an ``array`` (M, N, N), in memory that the device reads fast."""
        return np.asarray(array[chosen])

    # --- elementwise ------------------------------------------------------------------------------

    real: Function
    imag: Function
    conj: Function
    complex: Function2
    # Of real arrays.
    abs: Function
    square: Function
    sqrt: Function
    log: Function
    sin: Function
    floor: Function

    def scaled(self, x: Array, factor: Array) -> Array:
        """Complex ``x`` times real ``factor``."""
        return x * factor

    @abstractmethod
    def rotation(self, phase: Array) -> Array:
        """exp(i phase) of a real phase."""

    def abs2(self, x: Array) -> Array:
        """abs(x)^2 of complex ``x``, with a derivative at zero."""
        return self.square(self.real(x)) + self.square(self.imag(x))

    @abstractmethod
    def maximum(self, x: Array, least: Any) -> Array: ...

    @abstractmethod
    def where(self, condition: Array, x: Array, otherwise: Array) -> Array: ...

    # --- along axes -------------------------------------------------------------------------------

    @abstractmethod
    def sum(self, x: Array, axis: int | tuple[int, ...] | None = None) -> Array: ...

    @abstractmethod
    def mean(self, x: Array, axis: tuple[int, ...]) -> Array:
        """Over these axes, which keep the length 1."""

    max: Function

    @abstractmethod
    def stack(self, arrays: Sequence[Array], axis: int = 0) -> Array: ...

    @abstractmethod
    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array: ...

    @abstractmethod
    def reshape(self, x: Array, shape: Sequence[Any]) -> Array: ...

    @abstractmethod
    def broadcast_to(self, x: Array, shape: Sequence[Any]) -> Array: ...

    # (x, axes), and (x, shift, axis).
    permute_dims: Callable[[Array, tuple[int, ...]], Array]
    roll: Callable[[Array, int, int], Array]
    # Matrix product of the last two axes of the first; the second may be a vector.
    matmul: Function2

    @abstractmethod
    def pad(self, x: Array, before: Sequence[Any], after: Sequence[Any], mode: Padding) -> Array:
        """Surround the last two axes, with zeros or with their border repeated."""

    def sum_squares(self, x: Array) -> Array:
        """Sum of all x^2."""
        return self.sum(self.square(x))

    def sum_modes(self, x: Array) -> Array:
        """Sum over the second axis, the probe modes."""
        return self.sum(x, axis=1)

    # --- transforms -------------------------------------------------------------------------------

    @abstractmethod
    def fft2(self, x: Array) -> Array:
        """2-D DFT of the last two axes, zero frequency at [0, 0].

        abs(fft2(x))^2 times :meth:`fft_power` conserves the energy.
        """

    @abstractmethod
    def ifft2(self, x: Array) -> Array:
        """The inverse of :meth:`fft2`."""

    def fft_power(self, n: Any) -> Any:
        """What makes abs(fft2(x))^2 of n x n pixels unitary; None where it is already."""
        return None

    @abstractmethod
    def rfft2(self, x: Array, shape: tuple[Any, Any] | None = None) -> Array:
        """The half (..., H, W//2 + 1) of the DFT of real ``x``, padded to ``shape`` if given."""

    @abstractmethod
    def irfft2(self, x: Array, shape: tuple[Any, Any]) -> Array: ...

    @abstractmethod
    def fftfreq(self, n: Any, like: Array) -> Array:
        """Cycles per pixel in FFT order, in the real precision of ``like``."""

    def arange(self, n: Any, like: Array) -> Array:
        """0, 1, ... n-1 in the real precision of ``like``."""
        return self.astype(self.integers(n, like), like)

    def number(self, value: Any, like: Array) -> Any:
        """A number, that of a graph too, which arithmetic takes together with ``like``."""
        return value

    def smaller(self, one: Any, other: Any) -> Any:
        """The smaller of two lengths, that of a graph too."""
        return min(one, other)

    def with_shape(self, x: Array, shape: Sequence[int | None]) -> Array:
        """``x``, of which these lengths are known, for a framework that builds a graph."""
        return x

    @abstractmethod
    def integers(self, n: Any, like: Array) -> Array:
        """0, 1, ... n-1 for counting pixels, on the device of ``like``."""

    @abstractmethod
    def as_index(self, x: Array) -> Array:
        """Real whole numbers for counting pixels."""

    # --- patches on a canvas ----------------------------------------------------------------------

    def places(self, corner: Array, n: Any, width: Any, first: Any = 0) -> Array:
        """Where patches of n x n pixels with the first pixels ``corner`` (M, 2) lie on a canvas of
        this width, whose flat pixels are counted from ``first``: the flat pixels that their rows
        begin with, unless others are faster."""
        rows = self.integers(n, corner) * width
        return (corner[:, 0] * width + corner[:, 1] + first)[:, None] + rows

    @abstractmethod
    def gather(self, canvas: Array, places: Array, n: Any) -> Array:
        """Patches (M, n, n) of a ``canvas``."""

    @abstractmethod
    def spread(self, patches: Array, places: Array, size: Any) -> Any:
        """The adjoint of :meth:`gather`: a contribution to a flat canvas of ``size`` pixels, for
        :meth:`plus`."""

    @abstractmethod
    def spread_points(self, values: Array, pixels: Array, size: Any) -> Array:
        """Sum of the rows ``values`` (M, K) at flat ``pixels`` (M,), (size, K)."""

    def plus(self, total: Any, contribution: Any) -> Array:
        """``total``, None at first, with a contribution; ``total`` may be overwritten."""
        return contribution if total is None else total + contribution

    # --- running ----------------------------------------------------------------------------------

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(self, *arguments)`` of arrays, numbers and NamedTuples of them, as one graph
        where the framework gains by that: all that it depends on is in the arguments."""
        return function(self, *arguments)

    def each(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Every item with what ``work`` makes of it, in their order; few are held at a time."""
        for item in items:
            yield item, work(item)

    def apart(self, count: int) -> Sequence[Ops]:
        """At most ``count`` operations that share the threads which are free, for work side by
        side, each in a thread of its own; these alone where that gains nothing."""
        return [self]

    def held_bytes(self, limit_bytes: int) -> int:
        """Memory for patterns that stay through all passes, given the limit of the options."""
        return limit_bytes

    @contextmanager
    def together(self) -> Iterator[None]:
        """Share the patterns of a scan with the other processes that torchrun started.

        Raises InputError when there are others and this framework cannot."""
        if started().size > 1:
            raise InputError(
                "several processes share the patterns of a scan with the backend pytorch, received "
                f"{self.name} in one of {started().size}; use pytorch, or start one process."
            )
        yield

    def totals(self, arrays: Sequence[Array]) -> list[Array]:
        """The sums over these processes, the same in each; also of NumPy arrays."""
        return list(arrays)

    def gathered(self, x: Array) -> Array:
        """The rows of all of them, in their order."""
        return x

    def agreed(self, x: Array) -> Array:
        """``x`` as the first of them has it."""
        return x

    @property
    @abstractmethod
    def threads(self) -> int:
        """The number of threads that a training runs with."""

    def with_threads(self, number: int) -> Ops | None:
        """The same operations with so many threads; None where that cannot be had any more."""
        try:
            return type(self)(self.execution.model_copy(update={"threads": number}))
        except InputError:
            return None

    def computing(self) -> AbstractContextManager[Any]:
        """Context of :meth:`running`, whose errors are those of the framework."""
        return nullcontext()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Compute inside the block, without derivatives, with the threads asked for.

        Raises InputError when the memory of the device does not suffice."""
        try:
            with self.computing():
                yield
        except self.out_of_memory as error:
            raise InputError(
                f"the computation must fit into the memory of the {self.memory_of}, received: "
                f"{first_line(error)}; {self.remedy}."
            ) from error

    def variable(self, values: NDArray[Any]) -> Array:
        """A parameter that :meth:`assign` and training change."""
        return self.asarray(values)

    def assign(self, variable: Array, values: NDArray[Any]) -> None:
        """Give a parameter new values."""
        raise NotImplementedError

    def engine(self, variables: Mapping[str, Array]) -> Engine:
        """What trains these variables.

        Raises InputError when nothing here computes derivatives, or an option does not suit the
        device."""
        raise InputError(
            f"training needs PyTorch or TensorFlow, received the backend {self.name}, which "
            "computes no derivatives; choose one of the two."
        )

    # --- layers of networks; images have their channels on the axis ``channels`` ------------------

    def image_in(self, x: Array) -> Array:
        """(B, C, H, W) in the order of the axes that networks use here."""
        return x

    def image_out(self, x: Array) -> Array:
        """The inverse of :meth:`image_in`."""
        return x

    def single(self, x: Array) -> Array:
        """Real ``x`` in single precision, whatever the layers of a network computed with."""
        return x

    @abstractmethod
    def conv2d(
        self, x: Array, weight: Array, bias: Array, stride: int, dilation: int, groups: int
    ) -> Array:
        """Convolution with a ``weight`` (out, in / groups, k, k), k odd, zeros around the image:
        each side becomes 1 / stride as long, rounded up."""

    @abstractmethod
    def conv_transpose2d(self, x: Array, weight: Array, bias: Array, stride: int) -> Array:
        """The adjoint of a strided convolution without overlap, plus ``bias``: ``weight`` (in,
        out, stride, stride), each side becomes ``stride`` times as long."""

    max_pool: Resizing
    avg_pool: Resizing

    @abstractmethod
    def upsample(self, x: Array, factor: int) -> Array:
        """Every pixel becomes factor x factor."""

    # Channel c*r*r + i*r + j holds the pixels (r y + i, r x + j) of channel c; and the inverse.
    space_to_depth: Resizing
    depth_to_space: Resizing
    # Over the last axis.
    softmax: Function
