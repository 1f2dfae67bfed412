"""One session of the real ptychodus, run with the Python of its own environment.

``session.py ACTION JSON`` prints one JSON line with what was seen. ptychodus starts child processes
by spawning, hence the guard at the end.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any


class Heard(logging.Handler):
    """Keeps what reaches the status pane of the window."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")


def session(action: str, given: dict[str, Any]) -> dict[str, Any]:
    from ptychodus.model.core import ModelCore

    heard = Heard()
    for name in ("ptychopinn", "ptychopinn-torch"):
        logging.getLogger(name).addHandler(heard)
    seen: dict[str, Any] = {"log": heard.lines}
    with ModelCore(log_level=logging.INFO) as model:
        workflow = model.workflow_api
        for group, values in given.get("settings", {}).items():
            parameters = model.settings_registry[group].parameters()
            for key, value in values.items():
                parameters[key].set_value_from_string(str(value))
        if action == "list":
            seen["keys"] = list(workflow.available_reconstructors())
            return seen
        key = given["key"]
        folder = Path(given["scan"])
        diffraction = workflow.load_assembled_diffraction_data(folder / "diffraction.h5")
        product = workflow.load_product(folder / "product.h5", diffraction=diffraction)
        processing = model.processing_core.processing_api
        try:
            if action == "train":
                work = Path(given["work"])
                work.mkdir(parents=True)
                if given.get("export", True):
                    for part in ("train", "test"):
                        path = work / f"{part}_data.npz"
                        product.export_training_data(path, algorithm=key)
                else:
                    for name in ("diffraction.h5", "product.h5"):
                        (work / name).write_bytes((folder / name).read_bytes())
                product.train_reconstructor_local(work, work, algorithm=key, block=True)
                processing.save_model_to_file(Path(given["model"]), key)
            elif action == "reconstruct":
                processing.load_model_from_file(Path(given["model"]), key)
                result = product.reconstruct_local(algorithm=key, block=True)
                result.save_product(Path(given["result"]), file_type="HDF5")
        except Exception as error:  # noqa: BLE001 - the test judges what the client was told
            seen["error"] = f"{type(error).__name__}: {error}"
    return seen


if __name__ == "__main__":
    print("SEEN " + json.dumps(session(sys.argv[1], json.loads(sys.argv[2]))))
