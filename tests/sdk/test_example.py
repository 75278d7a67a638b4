"""The example's page shows a visit turning into a profile's timeline."""

import signal
import sys
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, expect

from dev.process import Process, free_port
from dev.stack import is_up
from tests.sdk.node import SDK
from tests.sdk.site import Site
from tests.sdk.visits import until
from tests.support import OWNER_OF_ALL

pytestmark = pytest.mark.browser


async def test_a_visit_turns_into_a_timeline(
    visitor: BrowserContext, sdk: Path, site: Site, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    example = Process(
        "example",
        [sys.executable, SDK / "example" / "serve.py", str(port)],
        log=tmp_path / "example.log",
        environment={"API_URL": site.url, "API_KEY": OWNER_OF_ALL.key},
    )
    example.start()
    try:
        example.wait_until(lambda: is_up(url))
        page = await visitor.new_page()
        await page.goto(url)
        await expect(page.locator("#state")).to_have_text("Page viewed: stored.")
        await page.get_by_text("Play “Blue Train”").click()
        await page.get_by_label("Your email").fill("ada@example.com")
        await page.get_by_text("It's me").click()
        await until(page, lambda: len(site.arrived()) == 3, what="the visit")
        await site.work_in()

        moments = page.locator("#timeline li div")
        await expect(moments).to_have_text(["Record Played", "page viewed"])
    finally:
        example.kill()
    (named,) = site.rows("select value from identities where kind = 'email'")
    assert named["value"] == "ada@example.com"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_key_is_revoked_however_the_example_is_ended(
    sdk: Path, site: Site, tmp_path: Path, how: signal.Signals
) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    example = Process(
        "example",
        [sys.executable, SDK / "example" / "serve.py", str(port)],
        log=tmp_path / "example.log",
        environment={"API_URL": site.url, "API_KEY": OWNER_OF_ALL.key},
    )
    at_work = "select id from keys where name = 'SDK example' and revoked_at is null order by id"
    before = site.rows(at_work)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # In the background; it would be handed on.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    example.start()
    try:
        example.wait_until(lambda: is_up(url))
        assert len(site.rows(at_work)) == len(before) + 1
        example.stop(how)
        assert example.exit_code == 0
    finally:
        example.kill()
    assert site.rows(at_work) == before
