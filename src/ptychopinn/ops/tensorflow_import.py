"""Keeps the import of TensorFlow from touching anything but itself."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

# Lines of TensorFlow's log below the level of an error, and the notice that stands before them.
NOTES = re.compile(rb"[IW]\d{4} \d\d:\d\d:|WARNING: All log messages before absl::InitializeLog")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Import TensorFlow inside the block.

    It imports Keras, which this package does not use: that must not write a file into the home
    folder, nor import the other framework because a setting of the user names it, nor matplotlib,
    which also writes there, for pictures of its own. Notes that are
    written before any level of logging can be set are left out, and later those of its C++ part,
    which calls an unused shortcut an error; what really fails arrives as an exception.
    """
    with ExitStack() as stack:
        stack.enter_context(
            _environment(
                KERAS_BACKEND="tensorflow",
                KERAS_HOME=os.devnull,
                TF_CPP_MIN_LOG_LEVEL=os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
            )
        )
        stack.enter_context(_without_notes())
        stack.enter_context(_without("matplotlib"))
        yield


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Let the package seem not to be installed, unless it is loaded already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_notes() -> Iterator[None]:
    """Hold back what is written to the standard error's file descriptor, then pass on the rest."""
    try:
        shown = os.dup(2)
    except OSError:
        # There is no standard error.
        yield
        return
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
            held.seek(0)
            for line in held:
                if not NOTES.match(line):
                    os.write(2, line)
