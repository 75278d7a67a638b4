"""The SDK's queue: nothing is lost and nothing is kept twice, whatever happens to the page and the server."""

import json
from collections import Counter

import pytest
from playwright.async_api import BrowserContext, Route

from tests.sdk.shop import Shop
from tests.sdk.site import Site
from tests.sdk.visits import WAITING, a_visit, call, start, until

pytestmark = pytest.mark.browser


async def test_what_is_called_offline_is_sent_when_the_browser_is_back(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    page = await a_visit(visitor, shop, site)
    await visitor.set_offline(True)

    await start(page, "marketing.track('Offline')")
    await page.wait_for_timeout(500)
    assert await page.evaluate("window.told") is None
    await visitor.set_offline(False)

    await page.wait_for_function("window.told === 'kept'")
    assert await site.kept() == ["Offline"]


async def test_the_queue_outlives_the_page(visitor: BrowserContext, shop: Shop, site: Site) -> None:
    key = site.a_public_key(shop.origin)
    page = await a_visit(visitor, shop, site, key)
    site.kill()
    for nth in range(5):
        await start(page, f"marketing.track('Event {nth}')")
    await page.close()
    site.start()

    page = await a_visit(visitor, shop, site, key)
    await call(page, "marketing.flush()")

    assert await site.kept() == [f"Event {nth}" for nth in range(5)]
    assert await page.evaluate(WAITING) == 0


async def test_a_server_that_is_killed_and_comes_back_has_each_event_once(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    page = await a_visit(visitor, shop, site)
    await page.evaluate(
        """() => {
          window.kept = 0
          let nth = 0
          window.calls = setInterval(() => {
            marketing.track(`Event ${nth}`).then(() => window.kept++)
            if (++nth == 300) clearInterval(window.calls)
          }, 5)
        }"""
    )
    await page.wait_for_function("window.kept > 50")
    site.kill()
    await page.wait_for_timeout(300)
    site.start()

    await page.wait_for_function("window.kept === 300", timeout=30_000)

    assert await site.kept() == [f"Event {nth}" for nth in range(300)]


async def test_what_is_called_on_leaving_arrives(visitor: BrowserContext, shop: Shop, site: Site) -> None:
    page = await a_visit(visitor, shop, site)
    await page.evaluate("addEventListener('pagehide', () => marketing.track('Last Word'), {capture: true})")

    await page.evaluate("() => { marketing.track('Link Clicked'); location = 'about:blank' }")

    await until(page, lambda: len(site.arrived()) >= 2, what="the click and the last word")
    assert sorted(await site.kept()) == ["Last Word", "Link Clicked"]  # Two requests at once.


async def test_a_browser_whose_requests_end_with_the_page_sends_a_beacon(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    await visitor.add_init_script("delete Request.prototype.keepalive")
    page = await a_visit(visitor, shop, site)

    await page.evaluate("() => { marketing.track('Link Clicked'); location = 'about:blank' }")

    await until(page, lambda: bool(site.arrived()), what="the click")
    assert await site.kept() == ["Link Clicked"]


async def test_tabs_of_a_browser_without_locks_do_not_double_either(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    await visitor.add_init_script("Object.defineProperty(navigator, 'locks', {value: undefined})")
    key = site.a_public_key(shop.origin)
    tabs = [await a_visit(visitor, shop, site, key) for _ in range(3)]

    for nth, tab in enumerate(tabs):
        await start(tab, f"Promise.all([...Array(50).keys()].map(n => marketing.track(`{nth}: ${{n}}`)))")
    for tab in tabs:
        await tab.wait_for_function("window.told === 'kept'")

    assert Counter(await site.kept()) == Counter(f"{nth}: {n}" for nth in range(3) for n in range(50))


async def test_tabs_side_by_side_neither_lose_nor_double(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    key = site.a_public_key(shop.origin)
    tabs = [await a_visit(visitor, shop, site, key) for _ in range(4)]

    for nth, tab in enumerate(tabs):
        calls = f"Promise.all([...Array(100).keys()].map(n => marketing.track(`{nth}: ${{n}}`)))"
        await start(tab, calls)
    for tab in tabs:
        await tab.wait_for_function("window.told === 'kept'")

    came = await site.kept()
    assert Counter(came) == Counter(f"{nth}: {n}" for nth in range(4) for n in range(100))
    for nth in range(4):
        mine = [int(name.split(": ")[1]) for name in came if name.startswith(f"{nth}:")]
        assert mine == sorted(mine), "a tab's events came out of order"


async def test_a_tab_hears_what_became_of_its_event_when_another_has_sent_it(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    key = site.a_public_key(shop.origin)
    cut_off = await a_visit(visitor, shop, site, key)
    other = await a_visit(visitor, shop, site, key)
    await cut_off.route("**/track/batch", lambda route: route.abort())

    await start(cut_off, "marketing.track('Mine')")
    await other.wait_for_function(f"{WAITING} === 1")  # A tab's process hears of another's a moment later.
    await call(other, "marketing.flush()")
    await cut_off.wait_for_function("window.told === 'kept'")
    await start(cut_off, "marketing.identify({email: 'no address'})")
    await other.wait_for_function(f"{WAITING} === 1")
    await call(other, "marketing.flush()")
    await cut_off.wait_for_function("window.told")

    assert "address" in await cut_off.evaluate("window.told")
    assert await site.kept() == ["Mine"]


async def test_a_server_that_asks_for_patience_gets_it_from_every_tab(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    key = site.a_public_key(shop.origin)
    asked: list[str] = []

    async def wait_a_little(route: Route) -> None:
        asked.append(route.request.url)
        headers = {
            "Retry-After": "2",
            "Access-Control-Allow-Origin": shop.origin,
            "Access-Control-Expose-Headers": "Retry-After",
        }
        await route.fulfill(status=429, headers=headers, json={"detail": "Wait."})

    page, other = [await a_visit(visitor, shop, site, key) for _ in range(2)]
    await visitor.route("**/track/batch", wait_a_little)
    await start(page, "marketing.track('One')")
    await until(page, lambda: bool(asked), what="the first attempt")
    await other.wait_for_function("Object.keys(localStorage).some(name => name.endsWith(':until'))")
    await visitor.unroute("**/track/batch")
    await start(other, "marketing.track('Two')")
    await other.wait_for_timeout(1_000)
    assert site.arrived() == []

    await page.wait_for_function("window.told === 'kept'")
    await other.wait_for_function("window.told === 'kept'")
    assert sorted(await site.kept()) == ["One", "Two"]


async def test_a_proxy_that_answers_for_the_server_is_not_believed(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    page = await a_visit(visitor, shop, site)

    async def sign_in_first(route: Route) -> None:
        headers = {"Access-Control-Allow-Origin": shop.origin}
        await route.fulfill(status=200, headers=headers, body="<p>Welcome to the hotel. Sign in first.")

    await page.route("**/track/batch", sign_in_first)
    await start(page, "marketing.track('In The Hotel')")
    await page.wait_for_timeout(300)
    assert await page.evaluate("window.told") is None
    await page.unroute("**/track/batch")

    await page.wait_for_function("window.told === 'kept'")
    assert await site.kept() == ["In The Hotel"]


async def test_the_queue_is_bounded_and_says_so(visitor: BrowserContext, shop: Shop, site: Site) -> None:
    page = await a_visit(visitor, shop, site)
    await visitor.set_offline(True)

    await page.evaluate("() => { for (let nth = 0; nth < 1000; nth++) marketing.track(`Event ${nth}`) }")
    assert "1000 events wait" in await call(page, "marketing.track('One Too Many')")
    await visitor.set_offline(False)
    await call(page, "marketing.flush()")

    assert await site.kept() == [f"Event {nth}" for nth in range(1_000)]


async def test_large_events_go_in_batches_of_their_own_and_too_large_ones_are_refused(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    page = await a_visit(visitor, shop, site)

    told = await page.evaluate(
        """async () => (await Promise.allSettled(
          [20_000, 3_000_000, 20_000, 25_000, 10].map(n => marketing.track(`${n}`, {text: "ä".repeat(n / 2)}))
        )).map(({status}) => status)"""
    )

    assert told == ["fulfilled", "rejected", "fulfilled", "fulfilled", "fulfilled"]
    assert await site.kept() == ["20000", "20000", "25000", "10"]


async def test_what_is_sent_is_one_simple_request_of_text(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    """So that a browser asks nothing beforehand, and a beacon could carry it."""
    page = await a_visit(visitor, shop, site)

    async with page.expect_request("**/track/batch") as asked:
        await call(page, "Promise.all([marketing.track('One'), marketing.track('Two')])")

    request = await asked.value
    assert (request.method, request.headers["content-type"]) == ("POST", "text/plain;charset=UTF-8")
    body = json.loads(request.post_data or "")
    assert body["key"].startswith("pk_")
    assert [event["name"] for event in body["events"]] == ["One", "Two"]
    assert body["sentAt"]
