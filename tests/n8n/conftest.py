"""Our nodes, compiled, in a stand-in for n8n, and the real API as a process beside it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.postgres import Postgres
from tests.databases import a_clone
from tests.n8n.standin import FOLDER, N8n, sources
from tests.sdk.conftest import needed
from tests.sdk.node import alone, installed, npm
from tests.sdk.site import Site
from tests.support import OWNER_OF_ALL


@pytest.fixture(scope="session")
def compiled() -> Path:
    """The nodes as JavaScript; the compiler has checked their types against the n8n that we install."""
    needed(npm(), "no npm: install Node.js 20 or newer")
    installed(FOLDER)
    with alone(FOLDER):
        note = FOLDER / "dist" / ".built"
        if not note.exists() or note.stat().st_mtime < max(path.stat().st_mtime for path in sources()):
            compiler = FOLDER / "node_modules" / ".bin" / "tsc"
            done = subprocess.run(
                [compiler, "-p", "."], cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, done.stdout
            note.touch()
    return FOLDER / "dist"


@pytest.fixture(scope="package")
def running(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    database = a_clone(postgres)
    site = Site(postgres, database, tmp_path_factory.mktemp("site"))
    try:
        # n8n is on this machine too: its addresses may be called.
        site.process.environment = {**(site.process.environment or {}), "EGRESS_NETWORKS": "127.0.0.0/8"}
        site.process.start()
        site.process.wait_until(site.answers, patience=120)
        yield site
    finally:
        site.kill()
        postgres.drop_database(database.name)


@pytest.fixture(scope="package")
def n8n(compiled: Path, running: Site) -> Iterator[N8n]:
    n8n = N8n(f"{running.url}/", OWNER_OF_ALL.key)
    yield n8n
    n8n.close()


@pytest.fixture(scope="package")
def described(compiled: Path) -> Iterator[N8n]:
    """For what needs no API."""
    n8n = N8n("http://127.0.0.1:9", "none")
    yield n8n
    n8n.close()
