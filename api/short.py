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
    "/orders",
    "/orders/{rest:path}",
)
# What has another name here.
RENAMED = {
    "/customers": "/profiles",
    "/audience-segments": "/segments",
    "/audience-segment": "/segments",
}


def lead(app: FastAPI, prefix: str) -> None:
    """Answer the short paths with 308: the same method and body, at the same path below `prefix`.

    What has another name here gets it.
    """

    async def there(request: Request) -> RedirectResponse:
        raw = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
        query = request.scope["query_string"].decode("latin-1")
        path = raw.decode("latin-1").partition("?")[0]
        first, slash, rest = path[1:].partition("/")
        path = f"{prefix}{RENAMED.get(f'/{first}', f'/{first}')}{slash}{rest}"
        return RedirectResponse(f"{path}?{query}" if query else path, 308)

    renamed = [each for path in RENAMED for each in (path, f"{path}/{{rest:path}}")]
    for path in (*PATHS, *renamed):
        app.add_route(path, there, METHODS, include_in_schema=False)
