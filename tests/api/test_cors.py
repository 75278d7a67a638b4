"""Pages may use a public key from the origins that its workspace lists, and from no others."""

import pytest
from httpx2 import AsyncClient

from tests.api.conftest import the_app
from tests.api.support import KEY, V1, created, refusal

SHOP = "https://shop.example"
AT = f"{V1}/whoami"


async def a_public_key(api: AsyncClient, *origins: str) -> dict[str, str]:
    """The headers of a page's request, of a workspace that lists these origins."""
    await created(await api.patch(f"{V1}/workspace", json={"origins": list(origins)}))
    made = await created(await api.post(f"{V1}/keys", json={"name": "The shop", "kind": "pk"}))
    the_app().state.stack.keys.forget()
    return {"Authorization": f"Bearer {made['key']}", "Origin": SHOP}


async def test_a_browser_that_asks_beforehand_is_told_how(strict_api: AsyncClient) -> None:
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}

    answer = await strict_api.options(f"{V1}/events", headers={**asked, "Authorization": ""})

    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("headers", [{}, {"Origin": SHOP}])
async def test_whoever_just_asks_for_options_is_no_browser(
    strict_api: AsyncClient, headers: dict[str, str]
) -> None:
    refusal(await strict_api.options(f"{V1}/segments", headers=headers), 405)


@pytest.mark.parametrize("listed", [SHOP, "*"])
async def test_a_page_of_a_listed_origin_can_read_the_answer(api: AsyncClient, listed: str) -> None:
    page = await a_public_key(api, "https://elsewhere.example", listed)

    answer = await api.get(AT, headers=page)

    assert answer.status_code == 200, answer.text
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert answer.headers["vary"] == "Origin"
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]


async def test_it_can_read_refusals_too(api: AsyncClient) -> None:
    page = await a_public_key(api, SHOP)

    refused = await api.get(f"{V1}/segments", headers=page)

    refusal(refused, 403)
    assert refused.headers["access-control-allow-origin"] == SHOP


@pytest.mark.parametrize("origins", [[], ["https://elsewhere.example"], ["http://shop.example"]])
async def test_a_page_of_any_other_origin_is_refused(api: AsyncClient, origins: list[str]) -> None:
    page = await a_public_key(api, *origins)

    refused = await api.get(AT, headers=page)

    assert "origins" in refusal(refused, 403)["detail"]
    assert "access-control-allow-origin" not in refused.headers


async def test_a_server_may_use_a_public_key_without_an_origin(api: AsyncClient) -> None:
    page = await a_public_key(api)
    del page["Origin"]

    answer = await api.get(AT, headers=page)

    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


async def test_no_page_reads_what_a_secret_key_is_answered(api: AsyncClient) -> None:
    await a_public_key(api, SHOP)

    answer = await api.get(AT, headers={"Authorization": f"Bearer {KEY}", "Origin": SHOP})

    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


async def test_origins_are_kept_as_browsers_send_them(api: AsyncClient) -> None:
    given = ["HTTPS://Shop.example:443", "https://shop.example", "http://localhost:3000", "http://[::1]:8080"]

    kept = (await created(await api.patch(f"{V1}/workspace", json={"origins": given})))["origins"]

    assert kept == [SHOP, "http://localhost:3000", "http://[::1]:8080"]
    assert (await api.get(f"{V1}/workspace")).json()["origins"] == kept


@pytest.mark.parametrize(
    "wrong",
    [
        "shop.example",
        "https://shop.example/",
        "https://shop.example/path",
        "https://",
        "//shop.example",
        "https://ada@shop.example",
        "https://shop.example:x",
        "https://shop.example?x",
        "https://shop.example#",
        "https://*.example",
        "https://läden.example",
        "https://shop.example\r\nX: y",
        "null",
        "",
    ],
)
async def test_what_is_no_origin_is_pointed_at(strict_api: AsyncClient, wrong: str) -> None:
    problem = refusal(await strict_api.patch(f"{V1}/workspace", json={"origins": [SHOP, wrong]}), 422)

    assert problem["errors"][0]["pointer"] == "/origins/1"
    assert "scheme://host[:port]" in problem["detail"]
