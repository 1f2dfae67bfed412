"""Serves the pages of a folder to browsers."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

from ptychopinn.errors import InputError, MissingDependencyError
from ptychopinn.ops.selector import installed
from ptychopinn.serving.access import is_loopback
from ptychopinn.serving.inside import Inside

PACKAGES = ("fastapi", "uvicorn", "websockets")

_log = logging.getLogger(__name__)


def serve(
    folder: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    open_to_others: bool = False,
    jobs_at_once: int = 1,
    upload_mib: int = 4096,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve until a signal ends it; jobs that run go on.

    Parameters
    ----------
    folder : of scans and results; nothing outside of it is read or written.
    host, port : where to listen; port 0 takes one that is free.
    open_to_others : listen also where other machines reach it.
    jobs_at_once : jobs that run at a time.
    upload_mib : size of an upload in MiB, at most.
    ready : called with the address to open, whose fragment is the token.

    Raises
    ------
    MissingDependencyError
        When a package is not installed.
    InputError
        When there is no such folder, the address is taken, or other machines would reach it and
        ``open_to_others`` is not set.
    """
    missing = [name for name in PACKAGES if not installed(name)]
    if missing:
        raise MissingDependencyError(
            f"the pages need the packages {', '.join(PACKAGES)}, received an installation without "
            f"{', '.join(missing)}; run: pip install 'ptychopinn[serve]'."
        )
    inside = Inside(folder)
    if not is_loopback(host):
        if not open_to_others:
            raise InputError(
                f"an address of this machine alone was expected, received host='{host}', where "
                "other machines reach it; leave it out, or add open_to_others=True where everybody "
                "in that network may see and start everything once they have the token."
            )
        _log.warning(
            "other machines reach this server at %s, without encryption: whoever reads along has "
            "the token; prefer an SSH tunnel", host,
        )  # fmt: skip
    import uvicorn

    from ptychopinn.serving.web_app import web_app

    token = secrets.token_urlsafe(32)
    with _listening(host, port) as listening:
        guard = web_app(inside, token, host, jobs_at_once, upload_mib << 20)
        port = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        server = uvicorn.Server(
            uvicorn.Config(
                guard,
                log_level="warning",
                # Its own configuration would close the log handlers of the whole process.
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws_max_size=1 << 16,
                # What is large is packed already, once for all viewers.
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=2,
                lifespan="on",
            )
        )
        ready(f"http://{shown}:{port}/#token={token}")
        server.run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens at this address."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _no_address(host, port, error) from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        # Whoever opens the address before the server is ready waits.
        made.listen(128)
    except OSError as error:
        made.close()
        raise _no_address(host, port, error) from error
    return made


def _no_address(host: str, port: int, error: OSError) -> InputError:
    return InputError(
        f"a free address was expected, received host='{host}' port={port}: "
        f"{error.strerror or error}; choose another port, or correct the host."
    )
