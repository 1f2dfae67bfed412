"""How idle threads of OpenMP wait; the user's own setting is kept."""

from __future__ import annotations

import os

import pytest

from ptychopinn.cli import wait_shortly


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, None),
    ],
)
def test_threads_wait_shortly_unless_the_user_decided(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = dict(given)
    monkeypatch.setattr(os, "environ", environment)
    wait_shortly()
    assert environment.get("GOMP_SPINCOUNT") == expected
