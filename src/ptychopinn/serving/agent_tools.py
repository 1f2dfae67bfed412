"""Tools for agents, by the Model Context Protocol (MCP): look at a scan, reconstruct, refine,
score, compare, list. Each runs the command of the same name in a process of its own, within one
folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ptychopinn.errors import InputError, MissingDependencyError, shown
from ptychopinn.ops.selector import installed
from ptychopinn.serving.command import DONE, POOR, ran, sentence
from ptychopinn.serving.inside import Inside
from ptychopinn.serving.runs import RECORD, run_of, runs_in

if TYPE_CHECKING:
    from mcp.server import MCPServer

INSTRUCTIONS = (
    "Reconstruction of ptychographic scans (X-ray, electron or light). Begin with check_scan, then "
    "reconstruct. Every result has a verdict on its fit: good, doubtful or poor. Never present a "
    "doubtful or poor object as right; report its likely cause and the findings, and try what they "
    "advise, mostly refine with other options. Paths are relative to the folder of the server."
)


def server(folder: Path) -> MCPServer[Any]:
    """The server of these tools for everything within ``folder``.

    Raises
    ------
    MissingDependencyError
        When the package mcp is not installed.
    InputError
        When there is no such folder.
    """
    if not installed("mcp"):
        raise MissingDependencyError(
            "the tools for agents need the package mcp, received an installation without it; run: "
            "pip install 'ptychopinn[mcp]'."
        )
    inside = Inside(folder)
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    from ptychopinn.workflows.model import package_versions

    class Tools(MCPServer[Any]):
        """A word that a tool does not know is an error; the package would leave it out."""

        async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
            for tool in await self.list_tools():
                known = list(tool.input_schema.get("properties", {}))
                foreign = [word for word in arguments if word not in known]
                if tool.name == name and foreign:
                    raise ToolError(
                        f"the arguments of {name} must be some of {', '.join(known)}, received "
                        f"{shown(', '.join(foreign))}; correct them."
                    )
            return await super().call_tool(name, arguments, context)

    made: MCPServer[Any] = Tools(
        "ptychopinn", instructions=INSTRUCTIONS, version=package_versions().get("ptychopinn", "")
    )

    def path(name: str) -> Path:
        try:
            return inside.path(name)
        except InputError as error:
            raise ToolError(str(error)) from error

    async def result_of(output: Path, *words: str) -> dict[str, Any]:
        code, _, errors = await ran(*words, "-o", str(output), "--quiet")
        if code not in (DONE, POOR):
            raise ToolError(sentence(errors))
        run = run_of(inside, output)
        pictures = sorted(p.name for p in output.glob("*.png"))
        return {**run.as_json(), "pictures": pictures, "said": _said(errors)}

    @made.tool()
    async def check_scan(scan: str) -> dict[str, Any]:
        """What a scan contains and what is wrong with it: patterns, geometry, overlap, and findings
        with a stable name, a level (note, mended, doubt, fault) and a sentence with numbers. A
        fault must be mended before a reconstruction."""
        code, out, errors = await ran("inspect", str(path(scan)), "--check", "--json")
        if not out.strip():
            raise ToolError(sentence(errors))
        content: dict[str, Any] = json.loads(out)
        return {**content, "usable": code == 0}

    @made.tool()
    async def reconstruct(
        scan: str,
        output: str,
        refine: Literal["auto", "always", "never"] = "auto",
        model: str | None = None,
    ) -> dict[str, Any]:
        """Reconstruct a scan with the pretrained network, in seconds, into the new folder
        ``output``. ``refine``: physics iterations after it; auto makes them where the fit asks for
        it. ``model``: effects of beam, sample and detector, auto tries them and keeps what patterns
        that were left out gain from. Returns verdict, residual beside photon noise, likely cause,
        findings, pictures."""
        words = ["reconstruct", str(path(scan)), "--refine", refine]
        words += [] if model is None else ["--model", model]
        return await result_of(path(output), *words)

    @made.tool()
    async def refine(
        source: str,
        output: str,
        refine_probe: bool = False,
        refine_positions: bool = False,
        modes: int | Literal["auto"] | None = None,
        background: bool | None = None,
        passes: int | None = None,
        model: str | None = None,
    ) -> dict[str, Any]:
        """Improve the result in the folder ``source``, or start from the scan ``source``, by
        physics alone, into the new folder ``output``. Probe and positions move only if asked for;
        ``modes`` adds incoherent probe modes; ``model`` as of reconstruct. Returns the same."""
        words = ["refine", str(path(source))]
        words += ["--refine-probe"] * refine_probe + ["--refine-positions"] * refine_positions
        words += [] if modes is None else ["--modes", str(modes)]
        words += [] if passes is None else ["--passes", str(passes)]
        words += [] if model is None else ["--model", model]
        if background is not None:
            words.append("--background" if background else "--no-background")
        return await result_of(path(output), *words)

    @made.tool()
    async def evaluate(
        result: str, data: str | None = None, truth: str | None = None
    ) -> dict[str, Any]:
        """Score the result in a folder against the measured patterns of the scan ``data`` (fit,
        resolution) and against a scan with a known object, ``truth`` (PSNR, NRMSE, FRC); one of
        them or both. Writes evaluation.json and evaluation.png beside the result. ``run`` is what
        was recorded of the result: its verdict, likely cause and findings."""
        words = ["evaluate", str(path(result)), "--json", "--force"]
        for flag, name in (("--data", data), ("--truth", truth)):
            words += [] if name is None else [flag, str(path(name))]
        code, out, errors = await ran(*words)
        if code != DONE:
            raise ToolError(sentence(errors))
        content: dict[str, Any] = json.loads(out)
        folder = path(result) if path(result).is_dir() else path(result).parent
        # A result that was copied alone has no record.
        if (folder / RECORD).is_file():
            content["run"] = run_of(inside, folder).as_json()
        return content

    @made.tool()
    async def compare(results: list[str]) -> dict[str, Any]:
        """Verdict, residual, noise, likely cause and findings of several result folders side by
        side, and which of those on the same scan leaves the least beyond photon noise."""
        try:
            runs = [run_of(inside, path(name)) for name in results]
        except InputError as error:
            raise ToolError(str(error)) from error
        best: dict[str, str] = {}
        for scan in {run.scan for run in runs if run.scan is not None}:
            fits = [r for r in runs if r.scan == scan and r.residual is not None]
            if fits:
                best[scan] = min(fits, key=lambda r: r.residual or 0.0).folder
        return {"runs": [run.as_json() for run in runs], "least_residual": best}

    @made.tool()
    async def list_runs(folder: str = ".") -> dict[str, Any]:
        """All results and trainings below a folder, the newest first, with their verdicts."""
        return {"runs": [run.as_json() for run in runs_in(inside, path(folder))]}

    return made


def _said(errors: str) -> list[str]:
    """The warnings of a command."""
    return [line for line in errors.splitlines() if line.startswith("WARNING")]
