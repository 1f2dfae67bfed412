"""What whoever asks for help has to send, at the end of pages that say what went wrong."""

from __future__ import annotations

from ptychopinn.errors import DEBUG

WHAT_TO_SEND = (
    "Where that does not help, send the developers what ptychopinn doctor --report prints, the "
    f"command with what it shows when {DEBUG}=1 is set, and run.json and log.txt of its folder "
    "where there is one."
)
