"""Every law runs on every implementation; the adapters are stateless, so one of each serves all tests."""

from __future__ import annotations

import pytest
from adapters import NETWORKS, PHYSICS, Networks, Physics, need


@pytest.fixture(scope="session", params=PHYSICS)
def implementation(request: pytest.FixtureRequest) -> Physics:
    """The physics of each implementation in turn."""
    package, build = PHYSICS[request.param]
    need(package)
    return build()


@pytest.fixture(scope="session", params=NETWORKS)
def networks(request: pytest.FixtureRequest) -> Networks:
    """The networks of each backend in turn."""
    package, build = NETWORKS[request.param]
    need(package)
    return build()
