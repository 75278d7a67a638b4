"""The API's own description: OpenAPI at /openapi.json, and to read and try it at /docs."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from api.errors import MEDIA_TYPE, Problem
from api.front import LARGEST_BODY

INTRODUCTION = """
Campaigns and flows over people you know. Send a credential with every request, as `Authorization: Bearer …`:
a secret key (`sk_…`; the embedded stack's stands in `.campanile/stack.env`), or the access token that
`POST /api/v1/auth/login` answers. Who belongs to several workspaces names one in `X-Workspace-Id`.

- Lists come in pages: pass `next_cursor` as `cursor` until it is null.
- Every refusal is a problem of [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) that says what to do.
- Send an `Idempotency-Key` with a POST, and sending it again does nothing twice.
- Send the `ETag` of what you read as `If-Match`, and you overwrite nobody's change.
- `RateLimit` tells how many more requests you have, and for how many seconds that holds.
- Events come in by the tracking API, which is not on this page: `POST /track`, `/identify`, `/page`,
  `/group`, `/alias` and `/track/batch`, with a public key (`pk_…`). `docs/tracking.md` tells of them.
- Send `X-Request-Id` to find your request in our logs; every answer carries one.
- What is under way changes through its workflow: 503 means that Temporal or its worker is away.
"""

# In the order in which a newcomer meets them.
SUBJECTS = (
    "auth",
    "users",
    "workspace",
    "members",
    "keys",
    "issuers",
    "providers",
    "routes",
    "audit",
    "profiles",
    "lists",
    "orders",
    "events",
    "segments",
    "templates",
    "campaigns",
    "flows",
    "messages",
    "webhooks",
    "failures",
    "integrations",
    "imports",
    "exports",
    "health",
)

# Swagger UI's own files, as a package carries them: the page works where there is no network.
_ASSETS = Path(str(files("fastapi_offline"))) / "static"
_AT = "/docs/assets"
# The page starts Swagger UI by a script within it.
_DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)


def _described(what: str) -> dict[str, Any]:
    return {"description": what, "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: _described("The key or access token is missing, unknown, or has ended."),
    403: _described("We know who asks, and they may not; the sentence says what it takes."),
    422: _described("What was sent breaks a rule; `errors` points at the fields."),
    429: _described("Too many requests; `Retry-After` says for how many seconds to wait."),
    503: _described("The database or Temporal is away."),
}

_NOT_FOUND = _described("There is no such thing, or none of yours; a workspace counts as a thing.")
_CONFLICT = _described("It is in a state in which this can't be done; the sentence says what can be.")
_TOO_LARGE = _described(f"The body has more than {LARGEST_BODY:,} bytes.")

_CHANGED = _described("It changed since you read the `ETag` that you sent: read it again.")
_ONCE = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "description": "A new one for each thing to do, such as a UUID. Sent again within a day, the same "
    "request is answered as it was the first time, with `Idempotency-Replayed: true`, and does nothing.",
}
_SAME = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The `ETag` of what you have: 304 when it is the same.",
}
_UNCHANGED: dict[str, Any] = {"description": "It is what you have."}

# What changes a thing and yet is refused in none of its states.
_IN_ANY_STATE = {("patch", "/api/v1/segments/{segment_id}"), ("patch", "/api/v1/templates/{template_id}")}
# What nobody need sign in for, and yet can come too late: the address has an account by now.
_TOO_LATE = {("post", "/api/v1/auth/verify-email")}


def described(app: FastAPI) -> dict[str, Any]:
    """The description, with the refusals that follow from a path and its method."""
    description = app.openapi()
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            asked_by_somebody = "security" in operation  # Who may name a workspace that is none of theirs.
            if "{" in path or asked_by_somebody:
                responses["404"] = _NOT_FOUND
            if (method, path) not in _IN_ANY_STATE and (
                # A second request with one Idempotency-Key may come before the first is done.
                ("{" in path and method != "get")
                or (method == "post" and asked_by_somebody)
                or (method, path) in _TOO_LATE
            ):
                responses["409"] = _CONFLICT
            given = operation.setdefault("parameters", [])
            if any(each["name"] == "If-Match" for each in given):
                responses["412"] = _CHANGED
            if method == "post" and asked_by_somebody and _ONCE not in given:
                given.append(_ONCE)
            if method == "get" and _tagged(responses) and _SAME not in given:
                given.append(_SAME)
                responses["304"] = _UNCHANGED
            if "application/json" in operation.get("requestBody", {}).get("content", ()):
                responses["413"] = _TOO_LARGE
    return description


def _tagged(responses: dict[str, Any]) -> bool:
    return "401" in responses and "application/json" in responses.get("200", {}).get("content", {})


def document(app: FastAPI) -> None:
    """Give `app` its description and the page that shows it."""
    app.openapi_tags = [{"name": name} for name in SUBJECTS]
    app.title, app.version, app.description = "Campanile", "1", INTRODUCTION

    writer = ThreadPoolExecutor(1, thread_name_prefix="openapi")

    @cache
    def written() -> bytes:
        return orjson.dumps(described(app))

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        # The first time it takes seconds of a processor: others are answered meanwhile, and those who wait
        # for it keep no thread from others.
        content = await asyncio.get_running_loop().run_in_executor(writer, written)
        return Response(content, media_type="application/json")

    app.mount(_AT, StaticFiles(directory=_ASSETS))

    @app.get("/", include_in_schema=False)
    async def front() -> RedirectResponse:
        return RedirectResponse("/docs")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Campanile's API",
            swagger_js_url=f"{_AT}/swagger-ui-bundle.js",
            swagger_css_url=f"{_AT}/swagger-ui.css",
            swagger_favicon_url=f"{_AT}/favicon.png",
        )
        page.headers["Content-Security-Policy"] = _DOCS_POLICY
        return page
