"""The same workflows for clients that let the program choose the backend.

The backend is ``config.backend`` where a configuration has one, else the environment variable
``PTYCHOPINN_BACKEND``, else what is installed.
"""

from __future__ import annotations

from ptycho.workflows.components import (
    load_inference_bundle,
    run_cdi_example,
    train_cdi_model,
)

run_cdi_example_with_backend = run_cdi_example
train_cdi_model_with_backend = train_cdi_model
load_inference_bundle_with_backend = load_inference_bundle

__all__ = [
    "load_inference_bundle_with_backend",
    "run_cdi_example_with_backend",
    "train_cdi_model_with_backend",
]
