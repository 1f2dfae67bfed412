"""Reading the file of options: plain YAML or JSON, bounded in size, depth and references."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ptychopinn.errors import InputError, brief, shown
from ptychopinn.io.reading import guarded

# Far more than all options with their descriptions.
LARGEST_FILE = 256 << 10
LARGEST_DEPTH = 20
LONGEST_VALUE = 4096


class _PlainLoader(yaml.SafeLoader):
    """YAML as options are written: no references, which can multiply a file, no deep nesting."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        reason = ""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            reason = "references (& and *) are not read, write the values out"
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST_VALUE:
            reason = f"a value of {len(event.value)} characters"
        elif self._depth > LARGEST_DEPTH:
            reason = f"nested more than {LARGEST_DEPTH} times"
        if reason:
            raise yaml.composer.ComposerError(None, None, reason, event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON mapping.

    Raises
    ------
    InputError
        When the file is missing, malformed or not a mapping.
    """
    with guarded(path) as size:
        if size > LARGEST_FILE:
            raise InputError(
                f"the configuration file must be short, received {size} bytes in '{path}'; name "
                "the file with the options."
            )
        text = path.read_bytes()
    try:
        content = yaml.load(text, _PlainLoader)
    except Exception as error:  # whatever a constructor of YAML makes of a value
        raise InputError(
            f"the configuration file must be YAML or JSON, received '{path}': {brief(error)}; "
            "correct it."
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(
            f"the configuration file must hold a mapping of options, received "
            f"{type(content).__name__} in '{path}'; write 'name: value' lines."
        )
    for name in content:
        if not isinstance(name, str):
            raise InputError(
                f"the names of options must be words, received {shown(name)} in '{path}'; "
                "correct it."
            )
    return content


@contextmanager
def blaming(path: Path | None, without: Callable[[], Any] | None = None) -> Iterator[None]:
    """Let an InputError of the block name the file of options whose content it is about.

    ``without`` does the same without the file: what that raises as well is not the file's fault.
    """
    try:
        yield
    except InputError as error:
        if path is None:
            raise
        if without is not None:
            without()
        raise InputError(f"in '{path}', {error}") from error
