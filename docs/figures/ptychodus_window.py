"""The screenshots of docs/ptychodus.md, made by the real ptychodus without a display.

Run with the Python of an environment with ptychodus, PyQt5 and this package:

    QT_QPA_PLATFORM=offscreen python docs/figures/ptychodus_window.py SCAN MODEL.zip

SCAN is a folder with diffraction.h5 and product.h5, MODEL.zip a trained model.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
KEY = "ptychopinn_pinn"


def main(scan: Path, model_file: Path) -> None:
    import ptychodus
    from ptychodus.controller import ControllerCore
    from ptychodus.model.core import ModelCore
    from ptychodus.view import ViewCore
    from PyQt5.QtWidgets import QApplication

    app = QApplication(["ptychodus"])
    with ModelCore(log_level=logging.INFO) as model:
        view = ViewCore(is_developer_mode_enabled=False)
        controller = ControllerCore(model, view, is_developer_mode_enabled=False)
        controller.show_main_window(ptychodus.VERSION_STRING)
        view.resize(1280, 800)
        workflow = model.workflow_api
        data = workflow.load_assembled_diffraction_data(scan / "diffraction.h5")
        product = workflow.load_product(scan / "product.h5", diffraction=data)
        processing = model.processing_core.processing_api

        def settle(seconds: float = 1.0) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                model.run_tasks()
                app.processEvents()
                time.sleep(0.02)

        processing.set_reconstructor_if_provided(KEY)
        processing.load_model_from_file(model_file, KEY)
        view.processing_action.trigger()
        settle()
        view.grab().save(str(HERE / "ptychodus_settings.png"))
        product.reconstruct_local(algorithm=KEY, block=True)
        settle()
        view.grab().save(str(HERE / "ptychodus_processing.png"))
        view.object_action.trigger()
        tree = view.object_view.tree_view
        tree.setCurrentIndex(tree.model().index(1, 0))
        settle()
        view.grab().save(str(HERE / "ptychodus_object.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
