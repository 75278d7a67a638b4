"""A real Chromium, and the real API as a process beside it."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from dev.postgres import Postgres
from tests.databases import a_clone
from tests.sdk.node import SDK, built, npm
from tests.sdk.shop import Shop
from tests.sdk.site import Site

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def needed(what: str | None, missing: str) -> str:
    """What these tests can't do without: they are skipped, or with BROWSER_REQUIRED=1 they fail."""
    if what:
        return what
    if os.environ.get("BROWSER_REQUIRED", "0") not in ("", "0"):
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Debian's, and none that is downloaded."""
    program = needed(CHROMIUM, "no Chromium: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def sdk() -> Path:
    """The SDK as its build script makes it, which fails where it is too large."""
    needed(npm(), "no npm: install Node.js 20 or newer")
    return built(SDK)


@pytest.fixture(scope="session")
def shop(sdk: Path) -> Iterator[Shop]:
    with Shop(sdk) as shop:
        yield shop


@pytest.fixture(scope="package")
def running(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    database = a_clone(postgres)
    site = Site(postgres, database, tmp_path_factory.mktemp("site"))
    try:
        site.start()
        yield site
    finally:
        site.kill()
        postgres.drop_database(database.name)


@pytest.fixture
def site(running: Site) -> Site:
    """Its API is up, and nothing has come in yet."""
    if not running.process.running:
        running.start()
    running.forget()
    return running


@pytest.fixture
async def visitor(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """A browser in which nobody was before."""
    context = await chromium.new_context(locale="en-GB", timezone_id="Europe/Berlin")
    yield context
    await context.close()
