"""The API's own description: OpenAPI at /openapi.json, and to read and try it at /docs."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse

from api.errors import MEDIA_TYPE, Problem

INTRODUCTION = """
Campaigns and flows over people you know. Everything here asks for one key:
`Authorization: Bearer <the setting API_KEY>`.

- Lists come in pages: pass `next_cursor` as `cursor` until it is null.
- Every refusal is a problem of [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) that says what to do.
- Send `X-Request-Id` to find your request in our logs; every answer carries one.
- What is under way changes through its workflow: 503 means that Temporal or its worker is away.
"""

_CDN = "https://cdn.jsdelivr.net"
# Swagger UI comes from a CDN and starts itself by a script within the page.
_DOCS_POLICY = (
    f"default-src 'self'; script-src 'unsafe-inline' {_CDN}; style-src 'unsafe-inline' {_CDN}; "
    "img-src 'self' data:; frame-ancestors 'none'"
)


def _described(what: str) -> dict[str, Any]:
    return {"description": what, "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: _described("The key is missing or wrong."),
    422: _described("What was sent breaks a rule; `errors` points at the fields."),
    503: _described("The database or Temporal is away."),
}


def document(app: FastAPI) -> None:
    """Give `app` its description and the page that shows it."""
    app.title, app.version, app.description = "Campanile", "1", INTRODUCTION

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        page = get_swagger_ui_html(openapi_url="/openapi.json", title="Campanile's API")
        page.headers["Content-Security-Policy"] = _DOCS_POLICY
        return page
