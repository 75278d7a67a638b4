"""Chaos has servers of its own: nobody else's tests are near when they are killed."""

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev.postgres import Postgres
from tests.chaos.site import Site
from tests.databases import a_clone, a_server, make_template

TOLD: list[str] = []


@pytest.fixture(scope="package")
def fragile_postgres() -> Iterator[Postgres]:
    """A server beside that of the other tests, with the migrated template."""
    server = a_server()
    try:
        make_template(server)
        yield server
    finally:
        server.stop()


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says something that stands in the run's summary, with the seconds since the test began."""
    began = time.monotonic()
    TOLD.append(request.node.name)
    return lambda what: TOLD.append(f"  {time.monotonic() - began:5.1f} s  {what}")


@pytest.fixture
def site(fragile_postgres: Postgres, tmp_path: Path, tell: Callable[[str], None]) -> Iterator[Site]:
    """CHAOS_SEED repeats a run's choices of moments, though not what else the machine does."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    tell(f"CHAOS_SEED={seed}")
    database = a_clone(fragile_postgres)
    site = Site(fragile_postgres, database, tmp_path, random.Random(seed), tell)
    try:
        yield site
    finally:
        site.close()
        if not fragile_postgres.running:
            fragile_postgres.start()
        fragile_postgres.drop_database(database.name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TOLD:
        terminalreporter.section("what the chaos did")
        for line in TOLD:
            terminalreporter.write_line(line)
