"""Errors a user can act on.

Every message is one sentence: what was expected, what was received, and the remedy.
"""

from __future__ import annotations


class PtychoPINNError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what a command ends with."""

    exit_code = 1


class InputError(PtychoPINNError, ValueError):
    """The data, the options or a file given by the user cannot be used (exit code 2)."""

    exit_code = 2


class MissingDependencyError(InputError):
    """An optional dependency is needed and not installed (exit code 2)."""


class TrainingError(PtychoPINNError, RuntimeError):
    """Training was stopped because it diverged, collapsed or met a NaN (exit code 1)."""


class PoorFitError(PtychoPINNError, RuntimeError):
    """The result was written, but it does not explain the measured patterns (exit code 3)."""

    exit_code = 3
