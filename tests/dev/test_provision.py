"""`campanile provision`: a server that has nothing gets what the addresses name."""

import dataclasses
from collections.abc import Iterator

import psycopg
import pytest

from dev.postgres import Postgres
from dev.process import StackError
from dev.provision import provision

ROLES = ("made_owner", "made_app", "made_neighbour")
DATABASES = ("made", "made_next_door")


@dataclasses.dataclass(frozen=True)
class Addresses:
    """As settings hold them, with passwords that begin with `word`."""

    server: Postgres
    word: str

    def of(self, role: str, database: str = "made") -> str:
        place = f"127.0.0.1:{self.server.port}/{database}"
        return f"postgresql+psycopg://{role}:{self.word}-{role}@{place}"

    def provision(self) -> list[str]:
        return provision(
            self.server.url("postgres", "postgres"),
            self.of("made_owner"),
            [self.of("made_app")],
            [self.of("made_neighbour", "made_next_door")],
        )

    def enter(self, role: str, database: str = "made") -> psycopg.Connection:
        return psycopg.connect(self.of(role, database).replace("+psycopg", ""), connect_timeout=5)


@pytest.fixture
def first(postgres: Postgres) -> Iterator[Addresses]:
    yield Addresses(postgres, "first")
    with postgres.connect() as db:
        for database in DATABASES:
            postgres.drop_database(database)
        for role in ROLES:
            db.execute(f"drop role if exists {role}")


def test_roles_get_their_passwords_and_databases_their_owners(first: Addresses) -> None:
    assert first.provision() == ["made", "made_next_door"]

    with first.enter("made_owner") as db:
        db.execute("create table notes (words text)")
        db.execute("create role made_by_a_migration")
        db.rollback()
    with first.enter("made_app") as db, pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute("create table notes (words text)")
    with first.enter("made_neighbour", "made_next_door") as db:
        db.execute("create extension btree_gin")  # As Temporal's schema does.


def test_one_neighbour_does_not_enter_the_others_database(first: Addresses) -> None:
    first.provision()

    for role, database in (("made_neighbour", "made"), ("made_app", "made_next_door")):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            first.enter(role, database)


def test_running_it_again_changes_the_passwords_and_keeps_what_is_there(first: Addresses) -> None:
    first.provision()
    with first.enter("made_owner") as db:
        db.execute("create table notes (words text)")

    second = dataclasses.replace(first, word="second")
    second.provision()

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        first.enter("made_owner")
    with second.enter("made_owner") as db:
        assert db.execute("select count(*) from notes").fetchone() == (0,)


def test_addresses_that_do_not_go_together_are_named_without_their_passwords(postgres: Postgres) -> None:
    one = Addresses(postgres, "one")
    server = postgres.url("postgres", "postgres")
    other = dataclasses.replace(one, word="another").of("made_owner", "made_next_door")

    with pytest.raises(StackError, match="made_owner has two passwords"):
        provision(server, one.of("made_owner"), [], [other])
    with pytest.raises(StackError, match="made_app@127") as refusal:
        provision(server, one.of("made_owner"), [one.of("made_app").replace(":one-made_app", "")], [])
    with pytest.raises(StackError, match="postgres makes the roles"):
        provision(server, one.of("postgres"), [], [])

    assert "one-made" not in str(refusal.value)
