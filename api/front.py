"""The server's front door, around FastAPI, the tracking paths, the tracking API, and incoming webhooks.

The last three pass straight through: they answer mail programs and sites by the thousand, and see to
themselves.
Everything else gets a request id, a line in the log, headers that keep browsers careful, a limit to what
is read, and a problem instead of a traceback whatever happens within. Browsers that ask beforehand whether
a page may use the API are told so here, since they can't show its key yet.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import TooLarge, of_error
from api.ingest.routes import serves
from api.request_ids import request_id

log = structlog.get_logger("api")

LARGEST_BODY = 2_000_000  # Bytes.
LARGEST_MESSAGE = 12_000_000  # A single message with its files, or a hundred of them.
LARGEST_CALLBACK = 1_000_000  # Of anybody, before we know what it answers.
LARGEST_UPLOAD = 2_000_000_000  # Files are read piece by piece, to disk.
UPLOADS = "/api/v1/imports"
CALLBACKS = "/api/v1/callbacks/"
MESSAGES = ("/api/v1/messages", "/api/v1/messages/batch")
API = "/api/v1/"
TRACKING = ("/o/", "/c/", "/u/", "/s/", "/p/", "/t/")
HOOKS = "/hooks/"
HEALTH = "/health"
QUIET = (HEALTH, "/ready")  # Asked all the time; logged only when something is wrong.

_CAREFUL = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
# What a browser is told beforehand (https://fetch.spec.whatwg.org/#http-cors-protocol). Whether the page may
# is decided when its request comes with a key: `api.callers`.
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, "
    "X-Request-Id, X-Workspace-Id",
    "Access-Control-Max-Age": "7200",
    "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
}
_TOLD = "campanile.told"  # In the scope: headers of the answer, whoever makes it.


def tell(request: Request, headers: Mapping[str, str]) -> None:
    """Have these headers in the answer to this request, also when it is a problem."""
    request.scope.setdefault(_TOLD, {}).update(headers)


class Front:
    """One ASGI application of four: `tracking` has the paths of `TRACKING`, `ingest` those that it serves,
    `hooks` those under `HOOKS`, and `app` all others. Without `app`, there is only
    whether the process is up, and `tracking` says that there is nothing else."""

    def __init__(
        self,
        app: ASGIApp | None,
        tracking: ASGIApp | None = None,
        ingest: ASGIApp | None = None,
        hooks: ASGIApp | None = None,
    ) -> None:
        self._app, self._tracking, self._ingest, self._hooks = app, tracking, ingest, hooks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._ingest is not None and serves(scope["path"]):
            await self._ingest(scope, receive, send)
        elif self._hooks is not None and scope["path"].startswith(HOOKS):
            await self._hooks(scope, receive, send)
        elif self._app is None and scope["path"] == HEALTH:
            await JSONResponse({"status": "up"}, headers=_CAREFUL)(scope, receive, send)
        elif self._tracking is not None and (self._app is None or scope["path"].startswith(TRACKING)):
            await self._tracking(scope, receive, send)
        elif self._app is None:
            raise RuntimeError("There is nothing to serve.")
        elif scope["type"] == "http":
            await _Exchange(scope, receive, send).run(self._app)
        else:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Start all before the server takes requests; stop all when it took its last."""
        await receive()
        try:
            async with AsyncExitStack() as all_of_them:
                for app in filter(None, (self._app, self._tracking, self._ingest, self._hooks)):
                    await all_of_them.enter_async_context(living(app))
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except RuntimeError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def living(app: ASGIApp) -> AsyncIterator[None]:
    """Run an application's start and stop, as its server would. Raises RuntimeError if it can't start."""
    told: asyncio.Queue[Message] = asyncio.Queue()
    heard: asyncio.Queue[Message] = asyncio.Queue()
    await told.put({"type": "lifespan.startup"})
    scope: MutableMapping[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    running = asyncio.ensure_future(app(scope, told.get, heard.put))
    if (answer := await _next(heard, running)) and answer["type"] == "lifespan.startup.failed":
        raise RuntimeError(answer.get("message") or "The application could not start.")
    try:
        yield
    finally:
        await told.put({"type": "lifespan.shutdown"})
        await _next(heard, running)


async def _next(heard: asyncio.Queue[Message], running: asyncio.Future[None]) -> Message | None:
    """What the application says next, or None when it has ended without a word (it knows no lifespan)."""
    answer = asyncio.create_task(heard.get())
    await asyncio.wait((answer, running), return_when=asyncio.FIRST_COMPLETED)
    if answer.done():
        return answer.result()
    answer.cancel()
    return None


def _most(path: str) -> int:
    """How many bytes are read of a body that is sent there."""
    if path.startswith(UPLOADS):
        return LARGEST_UPLOAD
    if path.startswith(CALLBACKS):
        return LARGEST_CALLBACK
    return LARGEST_MESSAGE if path in MESSAGES else LARGEST_BODY


def _logged(path: str) -> str:
    """The path without what whoever reads the log could answer a flow's call with."""
    return f"{CALLBACKS}…" if path.startswith(CALLBACKS) else path


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.id = request_id(Headers(scope=scope).get("x-request-id", ""))
        self.most = _most(scope["path"])
        self.read = 0  # Bytes.
        self.told: dict[str, str] = {}
        scope[_TOLD] = self.told
        self.status = 0  # Until the response has begun.
        self.ended = False

    async def run(self, app: ASGIApp) -> None:
        began = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=self.id):
            try:
                announced = Headers(scope=self.scope).get("content-length", "")
                self.refuse_more_than_we_read(int(announced) if announced.isdecimal() else 0)
                await (_preflight(self.scope) or app)(self.scope, self.receive, self.send)
            except Exception as error:
                if not self.status:
                    await of_error(error)(self.scope, self._receive, self.send)
                elif not self.ended:
                    log.error("A response broke off", path=_logged(self.scope["path"]), exc_info=error)
                    raise
            if self.scope["path"] not in QUIET or self.status >= 400:
                log.info(
                    "Answered",
                    method=self.scope["method"],
                    path=_logged(self.scope["path"]),
                    status=self.status,
                    ms=round(1000 * (time.perf_counter() - began), 1),
                )

    async def receive(self) -> Message:
        message = await self._receive()
        self.read += len(message.get("body", b""))
        self.refuse_more_than_we_read(self.read)
        return message

    def refuse_more_than_we_read(self, size: int) -> None:
        if size > self.most:
            raise TooLarge(f"Send at most {self.most:,} bytes here.")

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.id
            for name, value in self.told.items():
                headers[name] = value
            for name, value in _CAREFUL.items():
                headers.setdefault(name, value)
        elif message["type"] == "http.response.body":
            self.ended = not message.get("more_body", False)
        await self._send(message)


def _preflight(scope: Scope) -> Response | None:
    """The answer to a browser that asks beforehand, or None for whatever else this is."""
    if scope["method"] != "OPTIONS" or not scope["path"].startswith(API):
        return None
    headers = Headers(scope=scope)
    if "origin" not in headers or "access-control-request-method" not in headers:
        return None
    return Response(status_code=204, headers={**_PREFLIGHT, "Access-Control-Allow-Origin": headers["origin"]})
