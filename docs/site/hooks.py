"""What the site has beside the pages of docs/: pages that are generated, and links that lead out of
docs/ in the repository and stay on the site.

MkDocs calls the functions ``on_...``; `make docs` has run the examples before.
"""

from __future__ import annotations

import importlib
import inspect
import posixpath
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "build" / "gallery"
# Files of the repository that are pages of the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples": "gallery.md",
}
LINK = re.compile(r"(?<=\]\()(?!https?://|mailto:|#)([^)\s#]+)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# Something that a browser would load from elsewhere.
ELSEWHERE = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^>]*>")


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    pages: dict[str, str | bytes] = {
        page: from_repository(name) for name, page in PAGES.items() if name.endswith(".md")
    }
    pages |= {"reference/python.md": python_page(), "reference/commands.md": commands_page()}
    pages |= gallery_pages(GALLERY)
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        pages |= notebook_pages(notebook)
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of a page of docs/ to files beside docs/ lead to their pages of the site."""
    return with_site_links(markdown, f"docs/{page.file.src_uri}")


def on_post_build(config: Any) -> None:
    """Look whether the site holds what it promises."""
    from mkdocs.exceptions import PluginError

    missing = list(faults(Path(config.site_dir)))
    if missing:
        raise PluginError("\n".join(missing))


# --- links ----------------------------------------------------------------------------------------


def with_site_links(text: str, place: str) -> str:
    """The Markdown of the file ``place`` of the repository, its links as on the site."""
    folder = posixpath.dirname(place)
    on_site = posixpath.relpath(folder, "docs") if folder.startswith("docs") else "."

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        name, kind = posixpath.splitext(posixpath.basename(target))
        found = PAGES.get(target)
        if posixpath.dirname(target) == "examples" and kind == ".py":
            found = f"gallery.md#{name}"
        elif found is None and target.startswith("docs/"):
            found = target.removeprefix("docs/").replace(".ipynb", ".md")
        return match[1] if found is None else posixpath.relpath(found, on_site)

    # Code stays as it is.
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(moved, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(moved, text[end:])])


def from_repository(name: str) -> str:
    """A page from a file at the top of the repository."""
    return with_site_links((ROOT / name).read_text(encoding="utf-8"), name)


# --- reference ------------------------------------------------------------------------------------


def public_names() -> dict[str, list[str]]:
    """Heading -> the names of the package that belong below it."""
    import ptychopinn as pp
    from ptychopinn.schema import Section

    found: dict[str, list[str]] = {"Functions": [], "Values": [], "Options": [], "Errors": []}
    for name in pp.__all__:
        value = getattr(pp, name)
        if not inspect.isclass(value):
            kind = "Functions"
        elif issubclass(value, Exception):
            kind = "Errors"
        else:
            kind = "Options" if issubclass(value, Section) else "Values"
        found[kind].append(name)
    return found


def python_page() -> str:
    """The reference of every public name, from its docstring; of options a table as well."""
    lines = [
        "# Python",
        "",
        "Everything that `import ptychopinn as pp` offers. [From Python](../python.md) shows how",
        "the parts go together; units, axis order and signs are those of the",
        "[data formats](../data-formats.md).",
    ]
    for heading, names in public_names().items():
        lines += ["", f"## {heading}"]
        for name in names:
            lines += ["", f"::: ptychopinn.{name}"]
            if heading == "Options":
                lines += ["", *option_table(name)]
    return "\n".join(lines) + "\n"


def option_table(name: str) -> list[str]:
    """The options of a section with their defaults, in the words of the command line."""
    import ptychopinn as pp
    from ptychopinn.schema import options_of

    schema, rows = getattr(pp, name), []
    for option, (_, description, default) in options_of(schema).items():
        plain = isinstance(default, int | float | str | None)
        shown = f"`{default!r}`" if plain else ""
        text = description or _first_line(schema.model_fields.get(option))
        rows.append(f"| `{option}` | {shown} | {_cell(text)} |")
    return ["| option | default | |", "| --- | --- | --- |", *rows] if rows else []


def _first_line(field: Any) -> str:
    """What a section says of itself, of an option that is a section."""
    kind = getattr(field, "annotation", None)
    return (inspect.getdoc(kind) or "").partition("\n")[0] if inspect.isclass(kind) else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def commands_page() -> str:
    """The reference of the commands, which mkdocs-click writes from the commands themselves."""
    from ptychopinn.cli import COMMANDS

    lines = ["# Commands", "", "The same text as `ptychopinn COMMAND --help`.", ""]
    lines += [f"- [{name}](#ptychopinn-{name}): {says}" for name, says in COMMANDS.items()]
    for name in COMMANDS:
        lines += [
            "",
            "::: mkdocs-click",
            f"    :module: ptychopinn.cli.{name}",
            "    :command: command",
            f"    :prog_name: ptychopinn {name}",
            "    :depth: 1",
        ]
    return "\n".join(lines) + "\n"


# --- gallery and notebooks ------------------------------------------------------------------------


def gallery_pages(folder: Path) -> dict[str, str | bytes]:
    """The page of the examples with what they printed and drew, and the pictures."""
    lines = [
        "# Gallery",
        "",
        "The scripts of `examples/`, what they print and what their results look like. They were",
        "run when this page was made, and take seconds each.",
    ]
    pages: dict[str, str | bytes] = {}
    for script in sorted((ROOT / "examples").glob("*.py")):
        printed = folder / f"{script.stem}.txt"
        if not printed.exists():
            raise FileNotFoundError(
                f"the gallery needs the examples that were run, received no '{printed}'; run: "
                "make docs"
            )
        code = script.read_text(encoding="utf-8")
        lines += ["", f"## {script.stem.replace('_', ' ').capitalize()} {{ #{script.stem} }}", ""]
        pictures = sorted(folder.glob(f"{script.stem}*.png"))
        # Two stand side by side where there are many.
        wide = '{ width="49%" }' if len(pictures) > 1 else ""
        for picture in pictures:
            what = picture.stem.removeprefix(script.stem).strip("-") or f"What {script.name} found"
            lines.append(f"![{what}](gallery/{picture.name}){wide}")
            pages[f"gallery/{picture.name}"] = picture.read_bytes()
        lines.append("")
        lines += ["```text", printed.read_text(encoding="utf-8").rstrip(), "```", ""]
        lines += [f'```python title="examples/{script.name}"', code.rstrip(), "```"]
    pages["gallery.md"] = "\n".join(lines) + "\n"
    return pages


def notebook_pages(notebook: Path) -> dict[str, str | bytes]:
    """The page of a notebook with its outputs as they are in the file, and the pictures."""
    from nbconvert import MarkdownExporter

    text, resources = MarkdownExporter().from_filename(str(notebook))
    place, stem = "notebooks", notebook.stem
    pages: dict[str, str | bytes] = {}
    for name, data in resources["outputs"].items():
        pages[f"{place}/{stem}/{name}"] = data
        text = text.replace(f"]({name})", f"]({stem}/{name})")
    text = with_site_links(text, f"docs/{place}/{notebook.name}")
    itself = f'<a href="{notebook.name}" download>This page as a notebook</a>'
    pages[f"{place}/{stem}.md"] = f"{text}\n\n{itself}\n"
    return pages


# --- what the site promises -----------------------------------------------------------------------


def faults(site: Path) -> Iterator[str]:
    """Names and options that the reference lacks, and what would be loaded from elsewhere."""
    import click

    from ptychopinn.cli import COMMANDS

    reference = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in (name for names in public_names().values() for name in names):
        if f'id="ptychopinn.{name}"' not in reference:
            yield f"the reference of Python lacks {name}"
    for role in sorted(set(re.findall(r":(?:func|class|mod|meth):[^\s<]*", reference))):
        yield f"the reference of Python shows {role}"
    commands = unescape((site / "reference" / "commands.html").read_text(encoding="utf-8"))
    for name in COMMANDS:
        _, found, text = commands.partition(f'id="ptychopinn-{name}"')
        text = text.partition("<h2")[0]
        if not found:
            yield f"the reference of the commands lacks {name}"
        command = importlib.import_module(f"ptychopinn.cli.{name}").command
        for option in command.params:
            for flag in option.opts if isinstance(option, click.Option) else ():
                if not option.hidden and flag not in text:
                    yield f"the reference of {name} lacks {flag}"
    for page in sorted(site.rglob("*.html")):
        for tag in ELSEWHERE.findall(page.read_text(encoding="utf-8")):
            if 'rel="canonical"' not in tag:
                yield f"{page.relative_to(site)} loads {tag}"
