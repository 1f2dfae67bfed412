"""Every law runs on every implementation; adapters keep no state, one of each serves all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from adapters import NETWORKS, PHYSICS, Networks, Physics, need


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Arrays this small are computed faster by one thread, most of all on a busy machine."""
    if find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def marked(names: Iterable[str]) -> list[Any]:
    """Parameters of a fixture; those on a GPU have the mark ``gpu``."""
    return [
        pytest.param(name, marks=pytest.mark.gpu) if name.endswith("cuda") else name
        for name in names
    ]


@pytest.fixture(scope="session", params=marked(PHYSICS))
def implementation(request: pytest.FixtureRequest) -> Physics:
    """The physics of each implementation in turn."""
    package, build = PHYSICS[request.param]
    need(package)
    return build()


@pytest.fixture(scope="session", params=marked(NETWORKS))
def networks(request: pytest.FixtureRequest) -> Networks:
    """The networks of each backend in turn."""
    package, build = NETWORKS[request.param]
    need(package)
    return build()
