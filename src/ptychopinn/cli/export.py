"""``ptychopinn export``: the network of a model for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from ptychopinn.cli.options import ANY_PATH, OutputPath, force_option, quiet_option


@click.command()
@click.argument("model", type=ANY_PATH)
@click.option("--onnx", is_flag=True, help="Write ONNX; the default, and the only format.")
@click.option("-o", "--output", metavar="FILE", type=OutputPath(), required=True,
              help="The file to write, NAME.onnx.")  # fmt: skip
@force_option("FILE")
@quiet_option
def command(model: Path, onnx: bool, output: Path, force: bool, quiet: bool) -> None:
    """Write the network of MODEL as an ONNX file.

    MODEL is a wts.h5.zip, the folder that holds it, or the word pretrained. A patch network is
    written whole; of the unrolled network, the learned corrector.
    """
    from ptychopinn.workflows.export import export_onnx

    done = export_onnx(model, output, force=force)
    if quiet:
        return
    click.echo(f"{done.content}: {done.file}, ONNX operators of version {done.opset}")
    for what, values in (("input", done.inputs), ("output", done.outputs)):
        for name, shape in values.items():
            click.echo(f"{what} {name}: float32 ({', '.join(map(str, shape))})")
