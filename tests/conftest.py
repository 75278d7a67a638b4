"""The stack of the tests: real PostgreSQL and a real Temporal server, started once for a run."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.client import Client

from activities.bell import Bell
from dev.postgres import Postgres
from dev.process import leave
from dev.temporal import NAMESPACE, Temporal
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests import forks
from tests.databases import Database, Databases, KeptDatabase, a_clone, a_server, make_template
from tests.people import nobody_is_astray
from tests.support import GivenClock, spend_little
from workflows.temporal import connect

spend_little()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server of this run's own, with the migrated template."""
    server = a_server()
    try:
        make_template(server)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
async def databases(postgres: Postgres) -> AsyncIterator[Databases]:
    lender = Databases(postgres)
    yield lender
    await lender.close()


@pytest.fixture
async def lent(databases: Databases) -> AsyncIterator[KeptDatabase]:
    """A migrated database for what needs real commits. What is left in it must add up."""
    borrowed = databases.lend()
    yield borrowed
    left = borrowed.out_of_step()
    await databases.take_back(borrowed)
    assert not left


@pytest.fixture
def database(lent: KeptDatabase) -> Database:
    return lent.database


@pytest.fixture
def sessions(lent: KeptDatabase) -> Sessions:
    """Transactions on `database`, as the application's roles."""
    return lent.sessions


@pytest.fixture(scope="session")
def shared_database(postgres: Postgres) -> Iterator[Database]:
    """A migrated database in which no test commits anything."""
    clone = a_clone(postgres)
    yield clone
    postgres.drop_database(clone.name)


@pytest.fixture(scope="session")
async def shared_sessions(shared_database: Database) -> AsyncIterator[Sessions]:
    opened = Sessions(shared_database.url, shared_database.engine_url, pool_size=2)
    yield opened
    await opened.close()


@pytest.fixture
async def db(shared_sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """A transaction in the default workspace that is rolled back. It is not in `database`."""
    async with shared_sessions(DEFAULT_WORKSPACE) as transaction:
        yield transaction
        if transaction.is_active:
            await nobody_is_astray(transaction)
        await transaction.rollback()


@pytest.fixture(scope="session")
def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Temporal]:
    """A Temporal server for the run. A test that kills one starts its own `dev.temporal.Temporal`."""
    server = Temporal(folder=tmp_path_factory.mktemp("temporal") / "logs")
    server.start()
    yield server
    server.kill()  # It has nothing to keep.


@pytest.fixture(scope="session")
def temporal_address(temporal_server: Temporal) -> str:
    return temporal_server.address


@pytest.fixture(scope="session")
async def temporal(temporal_address: str) -> Client:
    return await connect(temporal_address, NAMESPACE)


@pytest.fixture
async def bell(database: Database, sessions: Sessions) -> AsyncIterator[Bell]:
    """A bell that hears what is poked in this test's database."""
    ringing = Bell(database.engine_url)
    await ringing.start(sessions)
    yield ringing
    await ringing.close()


@pytest.fixture
def clock() -> GivenClock:
    return GivenClock()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Nobody shall think that the browser's tests ran where they could not."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "browser" in report.keywords]
    if skipped:
        terminalreporter.section(f"{len(skipped)} TESTS IN A BROWSER DID NOT RUN", red=True, bold=True)
        reasons = {str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped}
        for reason in sorted(reasons):
            terminalreporter.write_line(f"They found {reason}.", red=True)
        terminalreporter.write_line("BROWSER_REQUIRED=1 makes them fail instead.", red=True)


EXIT = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    forks.end()
    session.config.stash[EXIT] = exitstatus


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave without the interpreter's own end, in which Temporal's SDK now and then aborts."""
    if EXIT in config.stash and not hasattr(config, "workerinput"):  # Who works beside others says so first.
        leave(config.stash[EXIT])
