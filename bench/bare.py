"""A FastAPI endpoint that asks nobody and nothing: what the framework and its server cost by themselves."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send


class Me(BaseModel):
    id: UUID
    email: str
    name: str


def agent(request: Request) -> str:
    return request.headers.get("user-agent", "")


def create_app() -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get("/me")
    async def me(_: Annotated[str, Depends(agent)]) -> Me:
        return Me(id=UUID(int=1), email="ada@example.com", name="Ada")

    return app


def create_taker() -> ASGIApp:
    """What reads a body and says that it took it, and does nothing else."""

    async def taker(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await receive()
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    return taker
