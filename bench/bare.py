"""A FastAPI endpoint that asks nobody and nothing: what the framework and its server cost by themselves."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel


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
