"""What a page says reaches the server once, with the right names, and nothing does that nobody wants."""

import re

import pytest
from playwright.async_api import BrowserContext

from tests.sdk.shop import Shop
from tests.sdk.site import Site
from tests.sdk.visits import STORED, a_visit, begin, call, opened

pytestmark = pytest.mark.browser

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


async def test_every_kind_of_call_is_durable_when_its_promise_resolves(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    page = await a_visit(visitor, shop, site)

    for what in (
        "marketing.page('Home', {shelf: 3})",
        "marketing.track('Record Played', {title: 'Ümlaut', seconds: 3})",
        "marketing.identify({email: 'Ada@Example.com', phone: '+4930123456', traits: {firstName: 'Ada'}})",
        "marketing.alias('u-7')",
        "marketing.group('g-1', {name: 'Band'})",
        "marketing.consent({email: 'denied'})",
    ):
        before = len(site.arrived())
        assert await call(page, what) is None
        assert len(site.arrived()) == before + 1

    viewed, played, known, renamed, joined, denied = site.arrived()
    assert len({row["anonymous_id"] for row in site.arrived()}) == 1
    assert all(UUID7.fullmatch(row["message_id"]) for row in site.arrived())
    assert viewed["properties"]["name"] == "Home"
    assert viewed["properties"]["url"] == shop.origin + "/"
    assert viewed["properties"]["title"] == "Records"
    assert viewed["properties"]["shelf"] == 3
    assert viewed["context"]["locale"] == "en-GB"
    assert viewed["context"]["timezone"] == "Europe/Berlin"
    assert viewed["context"]["library"]["name"] == "@campanile/browser"
    assert (played["name"], played["properties"]) == ("Record Played", {"title": "Ümlaut", "seconds": 3})
    assert known["email"].lower() == "ada@example.com"
    assert (known["phone"], known["properties"]["firstName"]) == ("+4930123456", "Ada")
    assert (renamed["user_id"], renamed["properties"]["previous_id"]) == ("u-7", viewed["anonymous_id"])
    assert (joined["user_id"], joined["properties"]["group_id"]) == ("u-7", "g-1")
    assert denied["consents"] == {"email": "denied"}


async def test_calls_that_come_before_the_script_are_made_when_it_is_there(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    page = await opened(visitor, shop, "/bare")
    key = site.a_public_key(shop.origin)
    await page.evaluate(
        """([apiKey, apiUrl]) => {
          window.marketing = []
          for (const name of ["init", "page", "track"]) marketing[name] = (...args) =>
            new Promise((resolve, reject) => marketing.push([name, args, resolve, reject]))
          window.snippet = marketing
          marketing.init({apiKey, apiUrl})
          marketing.page()
          window.early = marketing.track("Came Early").then(() => "kept", String)
        }""",
        [key, site.url],
    )

    await page.add_script_tag(url="/marketing.js")

    assert await page.evaluate("window.early") == "kept"
    assert [row["kind"] for row in site.arrived()] == ["page", "track"]
    assert await call(page, "marketing.track('Came Late')") is None
    assert await call(page, "snippet.track('By The Snippet')") is None
    assert site.arrived()[-1]["name"] == "By The Snippet"
    assert await page.evaluate("new Marketing() instanceof marketing.constructor")


async def test_the_module_is_the_same_as_the_script(visitor: BrowserContext, shop: Shop, site: Site) -> None:
    page = await opened(visitor, shop, "/bare")

    await page.evaluate(
        """async ([apiKey, apiUrl]) => {
          const { marketing, Marketing } = await import("/index.js")
          const another = new Marketing()
          await Promise.all([marketing.init({apiKey, apiUrl}), another.init({apiKey, apiUrl})])
          await Promise.all([marketing.track("One"), another.track("Two")])
        }""",
        [site.a_public_key(shop.origin), site.url],
    )

    one, two = site.arrived()
    assert {one["name"], two["name"]} == {"One", "Two"}
    assert one["anonymous_id"] == two["anonymous_id"]


async def test_what_is_refused_rejects_and_its_neighbours_are_kept(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    page = await a_visit(visitor, shop, site)

    told = await page.evaluate(
        """async () => (await Promise.allSettled([
          marketing.track("Before"), marketing.identify({email: "no address"}), marketing.track("After"),
        ])).map(({status, reason}) => [status, reason instanceof Error && reason.message])"""
    )

    assert [status for status, _ in told] == ["fulfilled", "rejected", "fulfilled"]
    assert "address" in told[1][1]
    assert [row["name"] for row in site.arrived()] == ["Before", "After"]
    assert await page.evaluate("marketing.flush()") is None


async def test_a_key_that_is_unknown_is_named(visitor: BrowserContext, shop: Shop, site: Site) -> None:
    page = await a_visit(visitor, shop, site, key="pk_nobody-knows-this-one")

    assert "key" in await call(page, "marketing.track('Seen')")
    assert site.arrived() == []


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("new Marketing().track('Early')", "init"),
        ("new Marketing().init({apiKey: 'sk_secret', apiUrl: 'https://api.example'})", "public key"),
        ("new Marketing().init({apiKey: 'pk_x', apiUrl: 'api.example'})", "https://"),
        ("marketing.track('')", "name is missing"),
        ("marketing.track('Big', {number: 10n})", "BigInt"),
        ("marketing.init({apiKey: 'pk_x', apiUrl: 'https://api.example'})", "before"),
    ],
)
async def test_misuse_rejects_with_the_way_out(
    visitor: BrowserContext, shop: Shop, site: Site, what: str, says: str
) -> None:
    page = await a_visit(visitor, shop, site, key="pk_any")

    assert says in await call(page, what)


@pytest.mark.parametrize(
    "asks",
    [
        "Navigator.prototype, 'doNotTrack', {get: () => '1'}",
        "navigator, 'globalPrivacyControl', {value: true}",
    ],
)
async def test_nothing_is_sent_or_stored_where_the_browser_asks_for_that(
    visitor: BrowserContext, shop: Shop, site: Site, asks: str
) -> None:
    await visitor.add_init_script(f"Object.defineProperty({asks})")
    page = await opened(visitor, shop)
    await page.evaluate("localStorage.setItem('campanile:anonymous', 'from before')")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await begin(page, site, "pk_x")

    for what in ("track('Seen')", "identify({email: 'ada@example.com'})", "page()", "flush()", "reset()"):
        assert await call(page, f"marketing.{what}") is None
    await page.close()

    again = await opened(visitor, shop)
    assert await again.evaluate(STORED) == 0
    assert asked == []


async def test_who_denies_tracking_is_heard_once_and_left_alone(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    page = await a_visit(visitor, shop, site)

    assert await call(page, "marketing.consent({tracking: 'denied'})") is None
    assert await call(page, "marketing.track('Seen')") is None
    await page.reload()
    await begin(page, site, site.a_public_key(shop.origin))
    assert await call(page, "marketing.page()") is None

    (denied,) = site.arrived()
    assert denied["consents"] == {"tracking": "denied"}


async def test_a_browser_that_stores_nothing_sends_all_the_same(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    refused = "{get() { throw new DOMException('', 'SecurityError') }}"
    await visitor.add_init_script(f"Object.defineProperty(window, 'localStorage', {refused})")
    page = await a_visit(visitor, shop, site)

    assert await call(page, "Promise.all([marketing.track('One'), marketing.track('Two')])") is not None

    one, two = site.arrived()
    assert (one["name"], two["name"]) == ("One", "Two")
    assert one["anonymous_id"] == two["anonymous_id"]


async def test_an_anonymous_visitor_stays_the_same_until_somebody_else_is_here(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    key = site.a_public_key(shop.origin)
    page = await a_visit(visitor, shop, site, key)
    await call(page, "marketing.track('0: first visit')")
    await page.reload()
    await begin(page, site, key)

    for what in (
        "marketing.track('1: second visit')",
        "marketing.identify({userId: 7, email: 'ada@example.com'})",
        "marketing.identify({email: 'ADA@example.com '})",
        "marketing.identify({userId: 7, email: 'ada@new.example'})",
        "marketing.track('5: still Ada')",
        "marketing.identify({userId: 8})",
        "marketing.track('7: now Grace')",
        "marketing.reset().then(() => marketing.track('8: nobody knows'))",
        "marketing.identify({email: 'grace@example.com'})",
        "marketing.identify({email: 'mary@example.com'})",
    ):
        await call(page, what)

    came = site.arrived()
    numbers = {name: nth for nth, name in enumerate(dict.fromkeys(row["anonymous_id"] for row in came))}
    assert [numbers[row["anonymous_id"]] for row in came] == [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3]
    assert [row["user_id"] for row in came] == [None, None, *["7"] * 4, "8", "8", None, None, None]
    assert "ada" not in (await page.evaluate("JSON.stringify(localStorage)")).lower()


async def test_a_visit_from_an_advertisement_says_which(
    visitor: BrowserContext, shop: Shop, site: Site
) -> None:
    page = await opened(visitor, shop, "/?utm_source=letter&utm_campaign=spring")
    await begin(page, site, site.a_public_key(shop.origin))

    await call(page, "marketing.page()")

    (viewed,) = site.arrived()
    assert viewed["context"]["campaign"] == {"source": "letter", "name": "spring"}
