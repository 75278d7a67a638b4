"""The short paths of older systems lead to their place in the API."""

from urllib.parse import quote

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
PATHS = (
    "/auth/{rest:path}",
    "/users/me",
    "/campaigns",
    "/campaigns/{rest:path}",
    "/flows",
    "/flows/{rest:path}",
)


def lead(app: FastAPI, prefix: str) -> None:
    """Answer the short paths with 308: the same method and body, at the same path below `prefix`."""

    async def there(request: Request) -> RedirectResponse:
        raw = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
        query = request.scope["query_string"].decode("latin-1")
        path = prefix + raw.decode("latin-1").partition("?")[0]
        return RedirectResponse(f"{path}?{query}" if query else path, 308)

    for path in PATHS:
        app.add_route(path, there, METHODS, include_in_schema=False)
