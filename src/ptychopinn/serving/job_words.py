"""What can be asked of the server, and the words of the command that does it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ptychopinn.ops.selector import BackendName
from ptychopinn.serving.inside import Inside
from ptychopinn.serving.runs import LIVE

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Scan = Annotated[Name, Field(description="Path of the file, in the folder.")]
# Of a job.
Number = Annotated[int, Field(ge=1, lt=2**31)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Order(BaseModel):
    """What all jobs have. All paths are relative to the folder of the server."""

    model_config = ConfigDict(extra="forbid")

    output: Name = Field(description="New folder for what the job writes.")
    backend: BackendName | None = Field(None, description="Framework; the installed one if none.")

    def sources(self) -> list[str]:
        """What it reads."""
        raise NotImplementedError

    def flags(self) -> list[str]:
        """Its own options, as they are typed."""
        return []


class Reconstruct(_Order):
    """The pretrained network on a scan, and refinement where its fit asks for it."""

    verb: Literal["reconstruct"]
    scan: Scan
    refine: Literal["auto", "always", "never"] = Field(
        "auto", description="Whether iterations follow the network; auto: where its fit asks."
    )
    uncertainty: bool = Field(False, description="State how far the object may be off.")

    def sources(self) -> list[str]:
        return [self.scan]

    def flags(self) -> list[str]:
        return ["--refine", self.refine, *["--uncertainty"] * self.uncertainty]


class Refine(_Order):
    """Physics iterations on a result, or on a scan from an empty object."""

    verb: Literal["refine"]
    source: Name = Field(description="Folder of a result to go on from, or a scan.")
    passes: Count | None = Field(None, description="Passes over the patterns, at most.")
    refine_probe: bool = Field(False, description="Refine the probe as well.")
    refine_positions: bool = Field(False, description="Refine the scan positions as well.")
    background: bool = Field(False, description="Fit a smooth background of all patterns.")
    modes: Literal["auto"] | Annotated[int, Field(ge=1, le=32)] | None = Field(
        None, description="Incoherent modes of the probe; those it has if none."
    )

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
    scans: Annotated[list[Name], Field(min_length=1, max_length=1000)] = Field(
        description="Paths of the files."
    )
    epochs: Count | None = Field(None, description="Epochs; those of the network if none.")
    architecture: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,40}$")] | None = Field(
        None, description="Network, as ptychopinn train names it."
    )
    resume: bool = Field(False, description="Go on with a training that was stopped.")

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
    scans: Annotated[list[Name], Field(min_length=1, max_length=10_000)] = Field(
        description="Paths of the files."
    )
    each: Literal["reconstruct", "refine"] = Field("reconstruct", description="What is done.")
    workers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="Processes; as many as there are cores if none."
    )

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
