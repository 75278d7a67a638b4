"""What stands behind the question mark of an address: refused by name where nothing can come of it."""

import re
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient

from tests.api.support import V1, refusal

NUL = "This holds a NUL, which can't be stored: take it out."


def asked(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The method, path and name of each parameter that an operation takes there."""
    return [
        (method, re.sub(r"\{\w+\}", str(uuid4()), path), parameter["name"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query" and not path.endswith("/callback")  # Others send browsers there.
    ]


async def test_a_nul_in_any_parameter_is_refused_by_its_name(strict_api: AsyncClient) -> None:
    everywhere = asked((await strict_api.get("/openapi.json")).json())

    assert ("get", f"{V1}/exports/events", "name") in everywhere
    assert len(everywhere) > 100
    for method, path, name in everywhere:
        problem = refusal(await strict_api.request(method, f"{path}?{name}=a%00b"), 422)
        assert problem["errors"] == [{"pointer": f"/{name}", "in": "query", "detail": NUL}], path


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("exports/profiles?attribute=plan&attribute=%00", "attribute"),
        ("exports/events?format=parquet&name=%00", "name"),
        ("profiles?attribute.plan=%00", "attribute.plan"),
    ],
)
async def test_a_nul_is_found_wherever_it_stands(strict_api: AsyncClient, query: str, name: str) -> None:
    problem = refusal(await strict_api.get(f"{V1}/{query}"), 422)

    assert problem["errors"] == [{"pointer": f"/{name}", "in": "query", "detail": NUL}]
