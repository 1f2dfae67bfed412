"""Who may talk to the server: addresses, origins, the token, and the headers of every answer."""

from __future__ import annotations

import hmac
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from html import escape
from typing import Any
from urllib.parse import urlsplit

from ptychopinn.report.asking import WHAT_TO_SEND

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

API, UPLOAD, REPORT = "/api/", "/api/upload", "/report/"
# Bytes of a request other than an upload.
SMALL = 1 << 20
POLICY = (
    "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
# A report is one file with its own scripts; in a sandbox it belongs to no site.
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>That did not work · PtychoPINN</title>
<link rel="stylesheet" href="/style.css">
</head>
<body>
<main>
<h1>That did not work</h1>
<p class="panel mistake" role="alert">{sentence}</p>
<p class="faint">{further}</p>
</main>
</body>
</html>
"""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Lets only those through who may.

    A name in the header Host that is not one of the server's is refused: the page of another site
    whose name was made to mean this machine is told by it (DNS rebinding). Other origins are
    refused whatever they ask, and everything below /api/ needs the token, in the header
    Authorization; the WebSocket asks for it in its first message.

    Parameters
    ----------
    app : what is guarded.
    token : the secret.
    host : where the server listens.
    largest : bytes of an upload, at most.
    """

    def __init__(self, app: App, token: str, host: str, largest: int) -> None:
        self._app, self._token, self._largest = app, token, largest
        self._names = {"localhost", "127.0.0.1", "::1", host.lower()}
        self._anywhere = not is_loopback(host)
        if self._anywhere:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def knows(self, token: object) -> bool:
        """Whether it is the token, in a time that does not tell how much of it is right."""
        return isinstance(token, str) and hmac.compare_digest(
            token.encode(errors="replace"), self._token.encode()
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = self._refused(scope)
        if refused is None:
            await self._app(scope, receive, _with_headers(scope, send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4403, "reason": refused[1][:100]})
        else:
            await _answer(_with_headers(scope, send), _accepted(scope), *refused)

    def _refused(self, scope: Message) -> tuple[int, str] | None:
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return 421, (
                "the address of this server was expected in the header Host, received another; "
                "open the address that the server printed."
            )
        origins = headers.get("origin", [])
        own = (f"http://{hosts[0]}", f"https://{hosts[0]}")
        if any(origin.lower() not in own for origin in map(str, origins)) or (
            headers.get("sec-fetch-site", ["none"])[0] in ("cross-site", "same-site")
            and scope["path"].startswith(API)
        ):
            return 403, (
                "a request of the page of this server was expected, received one of another site; "
                "open the address that the server printed."
            )
        if scope["type"] == "websocket" or not scope["path"].startswith(API):
            return None
        kind, _, token = headers.get("authorization", [""])[0].partition(" ")
        if kind.lower() != "bearer" or not self.knows(token):
            return 401, (
                "the token that the server printed when it was started was expected, received "
                f"{'none' if not token else 'another'}; open the address that it printed."
            )
        return self._too_large(scope, headers)

    def _too_large(self, scope: Message, headers: dict[str, list[str]]) -> tuple[int, str] | None:
        most = self._largest if scope["path"] == UPLOAD else SMALL
        length = headers.get("content-length", [""])[0]
        if length.isdecimal() and int(length) > most:
            return 413, too_large(most)
        if "transfer-encoding" in headers and scope["path"] != UPLOAD:
            return 411, (
                "a request with its length was expected, received one without; send the header "
                "Content-Length."
            )
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        # No site owns a number: only names can be made to mean another machine.
        return name in self._names or (self._anywhere and _address(name))


def too_large(most: int) -> str:
    """The sentence for a request that is too long."""
    return (
        f"at most {most / 2**20:.0f} MiB were expected, received more; put large files into the "
        "folder itself, or start the server with a larger limit."
    )


def _with_headers(scope: Message, send: Send) -> Send:
    more = [(name.encode(), value.encode()) for name, value in HEADERS]
    # What lies behind the token stays out of every cache; the page itself may be asked for anew.
    kept = b"no-store" if scope["path"].startswith((API, REPORT)) else b"no-cache"
    more.append((b"cache-control", kept))

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", []))
            names = {name.lower() for name, _ in given}
            missing = [pair for pair in more if pair[0] not in names]
            message = {**message, "headers": [*given, *missing]}
        await send(message)

    return sent


def _accepted(scope: Message) -> str:
    found = [value for name, value in scope["headers"] if name.lower() == b"accept"]
    return b",".join(found).decode("latin-1")


def error_body(sentence: str, accept: str) -> tuple[str, bytes]:
    """The media type and the body that say what went wrong: a page for whoever opened an address
    in a browser, whose header Accept asks for one, and JSON for all others."""
    if "text/html" not in accept:
        return "application/json", json.dumps({"error": sentence}).encode()
    page = _PAGE.format(sentence=escape(sentence), further=escape(WHAT_TO_SEND))
    return "text/html; charset=utf-8", page.encode(errors="backslashreplace")


async def _answer(send: Send, accept: str, status: int, sentence: str) -> None:
    kind, body = error_body(sentence, accept)
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    # A body that nobody read must not be taken for the next request.
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
