"""PostgreSQL and Temporal as the stack runs them: killed, they come back with what was committed."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dev.places import database_home, has_memory, memory_home
from dev.postgres import APP, OWNER, Postgres
from dev.process import StackError
from dev.temporal import SEARCH_ATTRIBUTES, Temporal
from workflows.temporal import connect


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A durable one of the test's own, without data at first."""
    home = database_home() / f"try-{os.getpid()}"
    own = Postgres(home=home)
    own.start()
    yield own
    own.stop()
    shutil.rmtree(home)


def test_postgres_keeps_what_was_committed_when_it_is_killed(server: Postgres) -> None:
    server.create_database("kept")
    with server.connect("kept") as db:
        db.execute("create table notes (words text)")
        db.execute("insert into notes values ('still here')")
    port = server.port

    server.kill()
    assert not server.running
    server.start()

    assert server.port == port
    with server.connect("kept") as db:
        assert db.execute("select words from notes").fetchall() == [("still here",)]


def test_postgres_is_not_run_by_root_and_listens_on_the_loopback_address_only(server: Postgres) -> None:
    with server.connect() as db:
        assert db.execute("show listen_addresses").fetchone() == ("127.0.0.1",)
        assert db.execute("show fsync").fetchone() == ("on",)
        assert db.info.server_version >= 180000
    assert server.process is not None
    assert server.process.child is not None
    assert Path(f"/proc/{server.process.child.pid}").stat().st_uid != 0


def test_nobody_gets_in_without_the_password(server: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.url("postgres", OWNER).replace("+psycopg", "").replace(server.password, "x"))


def test_the_applications_role_is_bound_by_policies(server: Postgres) -> None:
    with server.connect() as db:
        rights = db.execute(
            "select rolsuper, rolbypassrls, rolcreaterole from pg_roles where rolname = %s", [APP]
        )
        assert rights.fetchone() == (False, False, False)


def test_two_processes_never_open_the_same_data(server: Postgres) -> None:
    with pytest.raises(StackError, match="stop it first"):
        Postgres(home=server.home).start()


def test_only_what_nobody_will_miss_is_in_memory(server: Postgres) -> None:
    assert server.data.parent == server.home
    assert Postgres(durable=False).data.parent == (memory_home() if has_memory() else database_home())


async def test_temporal_keeps_its_workflows_when_it_is_killed(tmp_path: Path) -> None:
    server = Temporal(tmp_path / "temporal.db", folder=tmp_path / "logs")
    server.start()
    try:
        client = await connect(server.address)
        await client.start_workflow("Unknown", id="campaign/1/kept", task_queue="nobody")

        server.kill()
        server.start()

        client = await connect(server.address)
        assert (await client.get_workflow_handle("campaign/1/kept").describe()).id == "campaign/1/kept"
    finally:
        server.stop()


async def test_temporal_knows_our_search_attributes(temporal_address: str) -> None:
    from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest

    client = await connect(temporal_address)
    asked = ListSearchAttributesRequest(namespace=client.namespace)
    known = (await client.operator_service.list_search_attributes(asked)).custom_attributes

    assert set(SEARCH_ATTRIBUTES) <= set(known)
