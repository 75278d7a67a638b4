"""Segment's official libraries deliver to us when they are told a host and a key, though we die on the way.

They come from their registries, as their users would get them: `segment.lock` and `node/package-lock.json`.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, create_subprocess_exec
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext

from dev.installer import install_into
from tests.sdk.conftest import needed
from tests.sdk.node import NODE, built, npm
from tests.sdk.shop import Shop
from tests.sdk.site import Site
from tests.sdk.visits import opened, until
from tests.support import OWNER_OF_ALL, eventually

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
EACH = 1_000
USERS = 100
KINDS = ("identify", "track", "page", "screen", "group", "alias")
PATIENCE = 240  # Seconds for 6,000 events and a restart, on a machine that has much else to do.


# The browser itself reports, and stops, what would go anywhere but to our API.
_TELL_WHO_ELSE_IS_ASKED = """api => {
  window.others = []
  document.addEventListener("securitypolicyviolation", (event) => window.others.push(event.blockedURI))
  const policy = document.createElement("meta")
  policy.httpEquiv = "Content-Security-Policy"
  policy.content = `connect-src ${api}`
  document.head.append(policy)
}"""

_VISIT = """({ writeKey, cdnURL, each, users }) => {
  window.called = 0
  const visit = async () => {
    const analytics = AnalyticsBrowser.load({ writeKey, cdnURL })
    await analytics.ready()
    while (window.called < each) {
      const calls = []
      for (let n = window.called; n < window.called + AT_ONCE; n++) {
        const userId = `browser-${n % users}`
        calls.push(
          analytics.identify(userId, { n, email: `${userId}@example.com` }),
          analytics.track("Browser Tracked", { n }),
          analytics.page("Shop", "Home", { n }),
          analytics.screen("Shop", "Home", { n }),
          analytics.group(`group-${n % 10}`, { n }),
          analytics.alias(userId, `was-browser-${n}`),
        )
      }
      await Promise.all(calls)
      window.called += AT_ONCE
      while (window.closed) await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  visit()
}""".replace("AT_ONCE", "10")


async def test_the_library_for_python_delivers_everything(site: Site, tmp_path: Path) -> None:
    install_into(tmp_path / "segment", HERE / "segment.lock")

    await deliver(
        site,
        [sys.executable, str(HERE / "deliver.py"), site.url, OWNER_OF_ALL.key, str(EACH)],
        {"PYTHONPATH": str(tmp_path / "segment")},
    )

    await everything_is_there_once(site, "python")


async def test_the_library_for_node_delivers_everything(site: Site) -> None:
    needed(npm(), "no npm: install Node.js 20 or newer")
    built(NODE)

    await deliver(site, ["node", str(NODE / "src" / "deliver.js"), site.url, OWNER_OF_ALL.key, str(EACH)])

    await everything_is_there_once(site, "node")


async def test_the_library_for_browsers_delivers_everything(visitor: BrowserContext, site: Site) -> None:
    needed(npm(), "no npm: install Node.js 20 or newer")
    with Shop(built(NODE)) as shop:
        page = await opened(visitor, shop, "/segment")
        await page.evaluate(_TELL_WHO_ELSE_IS_ASKED, site.url)
        given = {"writeKey": site.a_public_key(shop.origin), "cdnURL": site.url, "each": EACH, "users": USERS}
        await page.evaluate(_VISIT, given)
        await page.wait_for_function(f"window.called > {EACH // 3}", timeout=PATIENCE * 1_000)
        site.kill()
        await page.wait_for_timeout(100)
        # Some calls failed. More would only try the machine: each makes the library look every moment.
        await page.evaluate("() => { window.closed = true }")
        site.start()
        await page.evaluate("() => { window.closed = false }")
        await until(page, lambda: events(site) == EACH * len(KINDS), PATIENCE, "the last event", 500)
        assert await page.evaluate("window.others") == []

    await everything_is_there_once(site, "browser")


async def deliver(site: Site, command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run the library's program, and kill the API when a third is called."""
    program = await create_subprocess_exec(
        *command, stdout=PIPE, stderr=STDOUT, env={**os.environ, **(environment or {})}
    )
    said: list[str] = []
    try:
        assert program.stdout
        async for line in program.stdout:
            said.append(line.decode().strip())
            if said[-1] == str(EACH * 7 // 20):
                await killed_and_back(site)
        async with asyncio.timeout(PATIENCE):
            await program.wait()
    finally:
        if program.returncode is None:
            program.kill()
    assert program.returncode == 0, "\n".join(said[-20:])
    assert said.count(str(EACH)) == 1, "\n".join(said[-20:])


async def killed_and_back(site: Site) -> None:
    async def something_came_in() -> bool:
        return bool(events(site))

    await eventually(something_came_in, PATIENCE, what="what was called so far")
    site.kill()
    await asyncio.sleep(0.5)
    site.start()  # From this thread, with which the process ends.


def events(site: Site) -> int:
    (counted,) = site.rows("select count(distinct message_id) as n from inbox")
    return int(counted["n"])


async def everything_is_there_once(site: Site, library: str) -> None:
    """Each call arrived, and took effect once, for the person it was made for."""
    everything_arrived(site, library)
    await site.work_in()
    users = {row["profile_id"]: row["value"] for row in site.rows(_NAMED, f"{library}-%", "user_id")}
    assert sorted(users.values()) == sorted(f"{library}-{n}" for n in range(USERS))

    kept: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row in site.rows("select kind, profile_id, properties from events"):
        kept[row["kind"]].append((number(row), users[row["profile_id"]]))
    once = [(n, f"{library}-{n % USERS}") for n in range(EACH)]
    for kind in ("track", "page", "screen", "group"):
        assert sorted(kept.pop(kind)) == once, f"not every {kind} is kept once, for whom it was made"
    assert not kept

    aliases = site.rows(_NAMED, f"was-{library}-%", "anonymous_id")
    assert sorted((number_of(row["value"]), users[row["profile_id"]]) for row in aliases) == once
    for row in site.rows("select id, attributes from profiles"):
        assert int(row["attributes"]["n"]) % USERS == number_of(users[row["id"]])


def everything_arrived(site: Site, library: str) -> None:
    """With its own properties, and under the names that it was given."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for row in site.rows("select distinct on (message_id) * from inbox order by message_id, id"):
        n = number(row)
        assert n not in found[row["kind"]], f"{row['kind']} {n} is there under two message ids"
        found[row["kind"]][n] = row["user_id"]
        if row["kind"] == "track":
            assert row["name"] == f"{library.title()} Tracked"
        if row["kind"] == "identify":
            assert row["email"] == f"{library}-{n % USERS}@example.com"

    expected = {n: f"{library}-{n % USERS}" for n in range(EACH)}
    assert set(found) == set(KINDS)
    for kind in KINDS:
        assert found[kind] == expected, f"not every {kind} arrived, for whom it was made"


_NAMED = "select profile_id, value from identities where value like %s and kind = %s"


def number(row: dict[str, Any]) -> int:
    """Which call of its kind this is."""
    properties = row["properties"]
    match row["kind"]:
        case "alias":
            return number_of(properties["previous_id"])
        case "group":
            return int(properties["traits"]["n"])
    return int(properties["n"])


def number_of(name: str) -> int:
    return int(name.rpartition("-")[2])
