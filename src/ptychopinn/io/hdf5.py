"""Reading and writing HDF5: every surprise is one sentence, and no link leads out of the folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.data.experiment import Propagation
from ptychopinn.data.units import units_in
from ptychopinn.errors import InputError, brief, listed, shown
from ptychopinn.io.base import is_hdf5, is_matlab
from ptychopinn.io.links import Tree
from ptychopinn.io.reading import check_declared, check_size, guarded

# More than any text or list of numbers that describes a dataset; HDF5 keeps most below 64 KiB.
LARGEST_ATTRIBUTE = 1 << 20
# Kinds of numbers that patterns may be of; True and False are those of a detector of one bit.
REAL = "biuf"


class Reader:
    """An open HDF5 file; names are paths inside it.

    Links, virtual datasets and data in other files are followed as :mod:`ptychopinn.io.links` says.
    """

    def __init__(self, path: Path, tree: Tree) -> None:
        self.path = path
        self._tree = tree

    def __contains__(self, name: str) -> bool:
        return self._tree.find(name) is not None

    def names(self) -> list[str]:
        """What the file holds at its top."""
        return list(islice(self._tree.root(), 50))

    def item(self, name: str) -> Any:
        """The group or dataset of this name, links followed; None when there is none."""
        return self._tree.find(name)

    def broken_link(self, name: str) -> str | None:
        """What a name leads to and is not there; None where the name is no link."""
        parts = [part for part in name.split("/") if part]
        for k, part in enumerate(parts):
            if self._tree.find("/".join(parts[: k + 1])) is not None:
                continue
            group = self._tree.find("/".join(parts[:k])) if k else self._tree.root()
            link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
            if isinstance(link, h5py.SoftLink):
                return self.broken_link(link.path) or link.path
            return f"{link.filename}:{link.path}" if isinstance(link, h5py.ExternalLink) else None
        return None

    def refuse_broken(self, name: str) -> None:
        """Raise InputError where a name is a link to what is not there."""
        target = self.broken_link(name)
        if target is not None:
            raise InputError(
                f"the dataset '{name}' was expected in '{self.path}', received a link to "
                f"'{brief(target, 200)}', which is not there; store the data there, or name "
                "another dataset."
            )

    def datasets(self, axes: int = 0) -> list[str]:
        """The names of all datasets of at least so many axes that lie in the file itself."""
        found: list[str] = []

        def visit(key: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and len(item.shape or ()) >= axes:
                found.append(key)

        self._tree.root().visititems(visit)
        return found

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a dataset; None when there is no such dataset, or it has no elements at all."""
        item = self._tree.find(name)
        return item.shape if isinstance(item, h5py.Dataset) else None

    def dataset(self, name: str, kinds: str = "iuf", ndim: tuple[int, ...] = ()) -> h5py.Dataset:
        """A dataset of numbers that is whole, to read in parts.

        Raises
        ------
        InputError
            When it is missing, of another kind of number or number of axes, or parts of it are.
        """
        item = self._tree.find(name)
        if not isinstance(item, h5py.Dataset):
            self.refuse_broken(name)
            raise InputError(
                f"the dataset '{name}' was expected in '{self.path}', received "
                f"{listed(self.names())}; add it."
            )
        pair = "c" in kinds and complex_names(item.dtype) is not None
        fits = pair or (item.dtype.kind in kinds and item.dtype.subdtype is None)
        if item.shape is None or not fits:
            raise InputError(
                f"the dataset '{name}' in '{self.path}' must hold {_called(kinds)}, received "
                f"{'nothing' if item.shape is None else _kind_of(item.dtype)}; write it again."
            )
        if ndim and len(item.shape) not in ndim:
            raise InputError(
                f"the dataset '{name}' in '{self.path}' must have "
                f"{' or '.join(map(str, ndim))} axes, received shape {shown(item.shape)}; write it "
                "again."
            )
        self._tree.stored_bytes(item)
        return item

    def stored(self, name: str, kinds: str = "iuf") -> h5py.Dataset:
        """Like :meth:`dataset`; InputError also for one that is declared only."""
        item = self.dataset(name, kinds)
        check_declared(*self._sizes(name, item))
        return item

    def check_unpacked(self, name: str) -> None:
        """Raise InputError for numbers that stand for others, by the convention of netCDF."""
        for key, plain in (("scale_factor", 1.0), ("add_offset", 0.0)):
            value = self.attribute(name, key)
            if value is not None and np.size(value) == 1 and np.ravel(value)[0] != plain:
                raise InputError(
                    f"'{name}' in '{self.path}' must hold plain numbers, received packed ones, "
                    f"with the attribute {key} = {shown(value)}; store numbers * scale_factor + "
                    "add_offset, as netCDF programs read them."
                )

    def fill_of(self, name: str) -> float | None:
        """The number that stands for no value, by the convention of netCDF; None without one. 0 is
        a count."""
        for key in ("_FillValue", "missing_value"):
            value = self.attribute(name, key)
            if value is not None and np.size(value) == 1 and np.ravel(value)[0] != 0:
                with suppress(TypeError, ValueError):
                    return float(np.ravel(value)[0])
        return None

    def array(self, name: str, kinds: str = "iuf", ndim: tuple[int, ...] = ()) -> NDArray[Any]:
        """The numbers of a dataset, byte order native.

        Complex numbers may be stored as pairs (real, imag). Arrays that MATLAB wrote come in its
        own order of axes, which HDF5 holds backwards.

        Raises
        ------
        InputError
            When it is missing, of another kind of number or number of axes, or too large.
        """
        item = self.dataset(name, kinds, ndim)
        self._check_size(name, item)
        values = np.asarray(item[()])
        names = complex_names(values.dtype)
        if names is not None:
            # Not as a sum, in which an infinite part makes the other one NaN.
            whole = np.empty(values.shape, np.complex128)
            whole.real, whole.imag = values[names[0]], values[names[1]]
            values = whole
        if values.ndim > 1 and self.is_of_matlab(name):
            values = values.T
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def is_of_matlab(self, name: str) -> bool:
        """Whether MATLAB stored a dataset, whose axes are then reversed."""
        item = self._tree.find(name)
        return isinstance(item, h5py.Dataset) and (
            complex_names(item.dtype) == MATLAB_NAMES
            or "MATLAB_class" in item.attrs
            or is_matlab(Path(item.file.filename))
        )

    def _check_size(self, name: str, item: h5py.Dataset) -> None:
        check_size(*self._sizes(name, item))

    def _sizes(self, name: str, item: h5py.Dataset) -> tuple[int, int, str]:
        """Bytes that are declared and stored, and what a sentence calls the dataset."""
        what = f"'{name}' in '{self.path}', of shape {shown(item.shape)},"
        declared = prod(item.shape) * item.dtype.itemsize
        return declared, self._tree.stored_bytes(item), what

    def optional(
        self, name: str, kinds: str = "iuf", ndim: tuple[int, ...] = ()
    ) -> NDArray[Any] | None:
        """Like :meth:`array`; None when there is no such dataset."""
        return self.array(name, kinds, ndim) if name in self else None

    def number(self, name: str, default: float | None = None) -> float:
        """A dataset that holds one number; ``default`` when it is missing, if given."""
        if default is not None and name not in self:
            return default
        values = self.array(name)
        if values.size != 1:
            raise InputError(
                f"'{name}' in '{self.path}' must be one number, received shape {values.shape}; "
                "store a single number."
            )
        return finite(values.reshape(()), f"'{name}' in '{self.path}'")

    def text(self, name: str) -> str:
        """A dataset that holds one text; "" when it is missing."""
        item = self._tree.find(name)
        if not isinstance(item, h5py.Dataset) or item.shape is None or item.size != 1:
            return ""
        self._check_size(name, item)
        return to_text(item[()])

    def attribute(self, name: str, key: str) -> Any:
        """An attribute of an item ("/" is the file); None when it is missing.

        Raises
        ------
        InputError
            When its declared size is beyond that of any description.
        """
        item = self._tree.root() if name == "/" else self._tree.find(name)
        if item is None or key not in item.attrs:
            return None
        stored = item.attrs.get_id(key)
        if stored.get_space().get_simple_extent_npoints() * stored.dtype.itemsize > (
            LARGEST_ATTRIBUTE
        ):
            raise InputError(
                f"the attribute '{key}' of '{name}' in '{self.path}' must be short, received shape "
                f"{shown(stored.shape)}; write it again."
            )
        value = item.attrs[key]
        return None if isinstance(value, h5py.Empty) else value

    def attribute_text(self, name: str, key: str, default: str = "") -> str:
        """An attribute that must be one text; ``default`` when it is missing."""
        value = self.attribute(name, key)
        if value is None:
            return default
        if not isinstance(value, (str, bytes)) and np.size(value) != 1:
            raise InputError(
                f"the attribute '{key}' of '{name}' in '{self.path}' must be one text, received "
                f"{shown(value)}; write it again."
            )
        return to_text(value)

    def units(self, name: str) -> tuple[str, ...]:
        """The units of a dataset, see :func:`~ptychopinn.data.units.units_in`; () without any."""
        for key in ("units", "unit", "Units", "Unit"):
            found = units_in(self.attribute(name, key))
            if found:
                return found
        return ()

    def attribute_number(self, name: str, key: str, default: float | None = None) -> float:
        """An attribute that must be a finite number; ``default`` when it is missing, if given."""
        value = self.attribute(name, key)
        if value is None and default is not None:
            return default
        return finite(value, f"the attribute '{key}' of '{name}' in '{self.path}'")


MATLAB_NAMES = ("real", "imag")


def complex_names(dtype: np.dtype[Any]) -> tuple[str, str] | None:
    """The names of real and imaginary part where numbers are stored as such pairs."""
    for names in (MATLAB_NAMES, ("re", "im"), ("Re", "Im"), ("r", "i")):
        if dtype.names != names or dtype.fields is None:
            continue
        first, second = (dtype.fields[key] for key in names)
        # HDF5 would write beyond an array whose parts lie upon each other.
        apart = first[1] + first[0].itemsize <= second[1]
        if apart and all(
            part[0].kind in "iuf" and part[0].itemsize <= 8 for part in (first, second)
        ):
            return names
    return None


def _called(kinds: str) -> str:
    """Numbers of these kinds in words."""
    if "c" in kinds:
        return "complex numbers"
    return "real numbers" if "f" in kinds else "whole numbers"


def _kind_of(dtype: np.dtype[Any]) -> str:
    """What a type holds in words."""
    if dtype.names is not None:
        return f"records of {listed(dtype.names)}"
    words = {"c": "complex numbers", "b": "True and False", "S": "texts", "O": "texts or objects"}
    return words.get(dtype.kind, shown(dtype))


def finite(value: Any, what: str) -> float:
    """``value`` as a finite float; InputError that begins with ``what`` for anything else."""
    try:
        number = float(np.asarray(value).reshape(()))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{what} must be a number, received {shown(value)}; write it again."
        ) from error
    if not np.isfinite(number):
        raise InputError(
            f"{what} must be finite, received {number}; write 0 there when it is not known."
        )
    return number


def to_text(value: Any) -> str:
    """A stored text, whatever its type; what is no text in UTF-8 becomes a replacement sign."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if not isinstance(value, bytes):
        value = str(value).encode("utf-8", errors="replace")
    return value.decode("utf-8", errors="replace")


@contextmanager
def reading(path: Path, again: bool = False) -> Iterator[Reader]:
    """Open a file for reading; ``again`` when all that is read now was opened before.

    Raises
    ------
    InputError
        When it is damaged; also when that shows only inside the block.
    """
    tree = Tree(path, again)
    with guarded(path):
        try:
            yield Reader(path, tree)
        finally:
            tree.close()


def hdf5_format(path: Path) -> str | None:
    """The ``format`` attribute of an HDF5 file, "" when it has none, None for any other file.

    Raises
    ------
    InputError
        For an HDF5 file that cannot be opened.
    """
    if not is_hdf5(path):
        return None
    with reading(path) as file:
        value = file.attribute("/", "format")
        return value if isinstance(value, str) else ""


def holds(path: Path, *names: str) -> bool:
    """Whether the path is an HDF5 file with all these datasets; cheap.

    Raises
    ------
    InputError
        For an HDF5 file that cannot be opened.
    """
    if not is_hdf5(path):
        return False
    with reading(path) as file:
        return all(file.shape(name) is not None for name in names)


def propagation_of(file: Reader, name: str) -> Propagation:
    """What the attribute ``propagation`` of an item says; files without it are of the far field.

    Raises
    ------
    InputError
        When it says something else.
    """
    stored = file.attribute_text(name, "propagation", "far-field")
    known: dict[str, Propagation] = {word: word for word in get_args(Propagation)}
    if stored not in known:
        raise InputError(
            f"propagation must be one of {', '.join(known)}, received {shown(stored)} in "
            f"'{file.path}'; install a newer ptychopinn."
        )
    return known[stored]
