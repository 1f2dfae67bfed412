"""The scripts for clusters in the documents, with stand-ins for what only a cluster has."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_documentation import ROOT, blocks

import ptychopinn as pp

PAGE = ROOT / "docs/cluster.md"


def test_the_slurm_script_gathers_its_workers(scans: Path, tmp_path: Path) -> None:
    """srun starts the worker of every task; here both of them on this machine."""
    pytest.importorskip("distributed", reason="many scans need distributed: the extra batch")
    script = next(b.code for b in blocks(PAGE) if "srun dask worker" in b.code)
    tools = tmp_path / "bin"
    tools.mkdir()
    called = {
        "srun": 'trap "kill \\$(jobs -p)" TERM\n"$@" &\n"$@" &\nwait',
        "dask": f'exec {sys.executable} -m dask "$@"',
        "ptychopinn": f'exec {sys.executable} -m ptychopinn "$@" --backend numpy --verb refine '
        "--passes 4 --no-mend all",
    }
    for name, text in called.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(stat.S_IRWXU)
    (tmp_path / "scans").mkdir()
    for name in "ab":
        shutil.copy(scans / f"{name}.h5", tmp_path / "scans")
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "SLURM_CPUS_PER_TASK": "1",
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=200, start_new_session=True,
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr
    for name in "ab":
        assert pp.load_reconstruction(tmp_path / "results" / name).N == 32
    assert {p.name for p in tmp_path.iterdir()} == {"bin", "scans", "results"}


def test_the_kubernetes_file_is_whole() -> None:
    """Each part names what another one offers; that a cluster takes it is not tested here."""
    text = next(b.code for b in blocks(PAGE) if "kind: Deployment" in b.code)
    parts = {(p["kind"], p["metadata"]["name"]): p["spec"] for p in yaml.safe_load_all(text)}
    assert list(parts) == [
        ("Service", "scheduler"), ("Deployment", "scheduler"), ("Deployment", "workers"),
        ("Job", "ptychography"),
    ]  # fmt: skip
    for spec in parts.values():
        if "template" not in spec:
            continue
        pod = spec["template"]
        if "selector" in spec:
            assert spec["selector"]["matchLabels"] == pod["metadata"]["labels"]
        mounted = {m["name"] for c in pod["spec"]["containers"] for m in c.get("volumeMounts", [])}
        assert mounted == {v["name"] for v in pod["spec"].get("volumes", [])}
