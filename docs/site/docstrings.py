"""Docstrings of the package as the reference shows them: for griffe, which reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|mod|meth|attr|data):`~?([^`]+)`")
ENTRY = re.compile(r"^(?P<names>\*{0,2}\w+(?:, \w+)*) : (?P<text>.*)$")
# Names with explanations in a paragraph: at its beginning, and after two blanks.
NAMED = re.compile(r"(?:^|(?<=\s))(\w+(?:, \w+)*) : ")
WITH_ENTRIES = {"Parameters", "Attributes", "Returns", "Yields"}
# What comes back, said in sentences and not as a type with a description.
SENTENCES = re.compile(
    r"^(?P<title>Returns|Yields)\n-+\n(?P<words>(?!\w+$|\w+ : ).+(?:\n(?!\S+\n-+$).+)*)",
    re.MULTILINE,
)


class ReadableDocstrings(griffe.Extension):
    """Changes every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            kind = getattr(obj, "returns", None)
            obj.docstring.value = readable(obj.docstring.value, "" if kind is None else str(kind))


def readable(text: str, returns: str = "") -> str:
    """A docstring whose parameters are ``name : what it is`` on one line, or several, with the
    words where griffe expects a type at the place of the description; roles are names, and
    paragraphs of names and explanations lists. What comes back in sentences stands below its type,
    which is given."""
    text = ROLE.sub(r"`\1`", text)
    if returns:
        text = SENTENCES.sub(lambda found: _typed(found, returns), text)
    lines, found, section = text.splitlines(), [], ""
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if line and set(following) == {"-"}:
            section = line
        entry = ENTRY.match(line) if section in WITH_ENTRIES else None
        if entry is None:
            found.append(line)
            continue
        words = entry["text"]
        if following[:4].isspace() and following.strip()[:1].isupper() and words[-1] not in ".,;:":
            words += "."
        found += [entry["names"], f"    {words}"]
    return "\n\n".join(paragraphs("\n".join(found)))


def _typed(match: re.Match[str], kind: str) -> str:
    words = match["words"].replace("``", "`").replace("\n", "\n    ")
    return f"{match['title']}\n-------\n{kind}\n    {words}"


def paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        if not NAMED.match(paragraph):
            yield paragraph
            continue
        # Words before the first name, then names and what they are.
        _, *parts = NAMED.split(" ".join(paragraph.split()))
        pairs = zip(parts[::2], parts[1::2], strict=True)
        yield "\n".join(f"- `{names}`: {words.strip()}" for names, words in pairs)
