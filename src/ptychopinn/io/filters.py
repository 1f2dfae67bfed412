"""Compression filters of HDF5 beyond its own: bitshuffle, LZ4, Zstandard, Blosc and others."""

from __future__ import annotations

import h5py
from h5py import h5z

from ptychopinn.errors import InputError, brief

# Filters below are part of HDF5.
FIRST_REGISTERED = 256


def check_filters(dataset: h5py.Dataset) -> None:
    """Make the filters of a dataset known to HDF5.

    Raises
    ------
    InputError
        For one that nobody here knows.
    """
    created = dataset.id.get_create_plist()
    for k in range(created.get_nfilters()):
        code, _, _, name = created.get_filter(k)
        if code < FIRST_REGISTERED or h5z.filter_avail(code):
            continue
        try:
            import hdf5plugin  # noqa: F401  it registers its filters
        except ImportError as error:
            raise InputError(
                f"the package hdf5plugin is needed for the compression of '{brief(dataset.name)}' "
                f"in '{dataset.file.filename}', received a Python without it ({brief(error)}); "
                "install it with: pip install hdf5plugin"
            ) from error
        if not h5z.filter_avail(code):
            words = brief(name.decode("utf-8", "replace"), 60)
            raise InputError(
                f"a compression that HDF5 or hdf5plugin knows was expected, received the filter "
                f"{code} ({words or 'without a name'}) of '{brief(dataset.name)}' in "
                f"'{dataset.file.filename}'; write the file again with another one."
            )
