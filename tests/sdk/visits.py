"""How the tests' visitors open a page of the shop, and what they call there."""

import time
from collections.abc import Callable
from typing import Any

from playwright.async_api import BrowserContext, Page

from tests.sdk.shop import Shop
from tests.sdk.site import Site

STORED = "Object.keys(localStorage).filter(name => name.startsWith('campanile:')).length"
WAITING = "Object.keys(localStorage).filter(name => name.includes(':q:')).length"


async def opened(visitor: BrowserContext, shop: Shop, path: str = "/") -> Page:
    page = await visitor.new_page()
    await page.goto(shop.origin + path)
    return page


async def a_visit(visitor: BrowserContext, shop: Shop, site: Site, key: str = "") -> Page:
    """A page of the shop on which the SDK was told where the API is."""
    page = await opened(visitor, shop)
    await begin(page, site, key or site.a_public_key(shop.origin))
    return page


async def begin(page: Page, site: Site, key: str) -> None:
    await page.evaluate(
        "async options => { await marketing.init(options) }", {"apiKey": key, "apiUrl": site.url}
    )


async def call(page: Page, what: str, given: Any = None) -> Any:
    """Run `what`, which may name `given`, and wait for its promise. A rejection's message is returned."""
    run = f"async given => {{ try {{ return await ({what}) }} catch (error) {{ return String(error) }} }}"
    return await page.evaluate(run, given)


async def start(page: Page, what: str) -> None:
    """Run `what`, and do not wait for its promise: it goes to `window.told` when it is kept."""
    tell = (
        "window.told = null; promise.then(() => window.told = 'kept', error => window.told = String(error))"
    )
    await page.evaluate(f"() => {{ const promise = {what}; {tell} }}")


async def until(
    page: Page, holds: Callable[[], bool], within: float = 20, what: str = "it", every: float = 50
) -> None:
    """Wait for what happens at the server, while the page goes on. Look `every` so many milliseconds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come true within {within:g} s"
        await page.wait_for_timeout(every)
