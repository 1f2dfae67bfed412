"""What can be asked of the server, and the words of the command that does it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ptychopinn.ops.selector import BackendName
from ptychopinn.serving.inside import Inside
from ptychopinn.serving.runs import LIVE

Name = Annotated[str, Field(min_length=1, max_length=1000)]
# Of a job.
Number = Annotated[int, Field(ge=1, lt=2**31)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Order(BaseModel):
    """What all jobs have. All paths are relative to the folder of the server.

    output : new folder for what the job writes.  backend : framework; the installed one if None.
    """

    model_config = ConfigDict(extra="forbid")

    output: Name
    backend: BackendName | None = None

    def sources(self) -> list[str]:
        """What it reads."""
        raise NotImplementedError

    def flags(self) -> list[str]:
        """Its own options, as they are typed."""
        return []


class Reconstruct(_Order):
    """The pretrained network on a scan, and refinement where its fit asks for it."""

    verb: Literal["reconstruct"]
    scan: Name
    refine: Literal["auto", "always", "never"] = "auto"
    uncertainty: bool = False

    def sources(self) -> list[str]:
        return [self.scan]

    def flags(self) -> list[str]:
        return ["--refine", self.refine, *["--uncertainty"] * self.uncertainty]


class Refine(_Order):
    """Physics iterations on a result, or on a scan from an empty object."""

    verb: Literal["refine"]
    source: Name
    passes: Count | None = None
    refine_probe: bool = False
    refine_positions: bool = False
    background: bool = False
    modes: Literal["auto"] | Annotated[int, Field(ge=1, le=32)] | None = None

    def sources(self) -> list[str]:
        return [self.source]

    def flags(self) -> list[str]:
        return [
            *([] if self.passes is None else ["--passes", str(self.passes)]),
            *["--refine-probe"] * self.refine_probe,
            *["--refine-positions"] * self.refine_positions,
            *["--background"] * self.background,
            *([] if self.modes is None else ["--modes", str(self.modes)]),
        ]


class Train(_Order):
    """A network of one's own from the patterns of scans."""

    verb: Literal["train"]
    scans: Annotated[list[Name], Field(min_length=1, max_length=1000)]
    epochs: Count | None = None
    architecture: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,40}$")] | None = None
    resume: bool = False

    def sources(self) -> list[str]:
        return self.scans

    def flags(self) -> list[str]:
        return [
            *([] if self.epochs is None else ["--epochs", str(self.epochs)]),
            *([] if self.architecture is None else ["--architecture", self.architecture]),
            *["--resume"] * self.resume,
        ]


class Batch(_Order):
    """Many scans on workers of this machine."""

    verb: Literal["batch"]
    scans: Annotated[list[Name], Field(min_length=1, max_length=10_000)]
    each: Literal["reconstruct", "refine"] = "reconstruct"
    workers: Annotated[int, Field(ge=1, le=1024)] | None = None

    def sources(self) -> list[str]:
        return self.scans

    def flags(self) -> list[str]:
        workers = [] if self.workers is None else ["--workers", str(self.workers)]
        return ["--verb", self.each, *workers]


Order = Annotated[Reconstruct | Refine | Train | Batch, Field(discriminator="verb")]


def words_of(order: Any, inside: Inside) -> tuple[list[str], Path]:
    """The words of the command, and the folder that it will write.

    Raises
    ------
    InputError
        When a path leads out of the folder, or its sources are not there.
    """
    sources = [str(inside.there(name)) for name in order.sources()]
    output = inside.path(order.output)
    backend = [] if order.backend is None else ["--backend", order.backend]
    return [order.verb, *sources, "-o", str(output), *order.flags(), *backend], output


def live_words(verb: str, picture: Path) -> list[str]:
    """What is typed to see the object as it is found, where the command can show it."""
    return [LIVE, str(picture)] if verb in ("reconstruct", "refine", "train") else []
