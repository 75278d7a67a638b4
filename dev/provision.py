"""`campanile provision`: the roles and databases that the settings name, on a server that has none.

It runs as the server's superuser and may be run again: then it sets the passwords that the addresses hold
now, and makes what is missing. Nothing is ever dropped.
"""

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from dev.doctor import conninfo
from dev.process import StackError
from settings import Settings


def run(settings: Settings) -> int:
    """Make them, and print what they are. Raises `StackError` for addresses that do not go together."""
    if not settings.server_database_url:
        raise StackError("set SERVER_DATABASE_URL to the server's address as its superuser")
    made = provision(
        settings.server_database_url,
        settings.admin_database_url,
        [settings.database_url, settings.engine_database_url],
        settings.neighbours,
    )
    print(f"These databases are there, with the roles that use them: {', '.join(made)}.")
    return 0


def provision(server: str, owner: str, roles: list[str], neighbours: list[str]) -> list[str]:
    """Returns the names of the databases.

    `owner` is the address of our database as the role that owns it, which makes roles of its own in the
    migrations; `roles` are addresses of others who use it. Each of the `neighbours` is a database of somebody
    else's, as its owner.
    """
    ours, *others = map(make_url, (owner, *roles))
    theirs = [make_url(address) for address in neighbours]
    looked_at([ours, *others, *theirs], make_url(server).username)
    with psycopg.connect(conninfo(server), autocommit=True, connect_timeout=30) as db:
        for address in {each.username: each for each in (*others, *theirs, ours)}.values():
            let_in(db, address, "createrole" if address.username == ours.username else "nocreaterole")
        for address in (ours, *theirs):
            make_database(db, address)
        for address in (ours, *others, *theirs):
            give(db, address)
    return [str(address.database) for address in (ours, *theirs)]


def looked_at(addresses: list[URL], superuser: str | None) -> None:
    """Raises `StackError` unless each names a user, a password and a database, and no user has two.

    None may be the superuser's, who would be an ordinary role afterwards.
    """
    passwords: dict[str, str] = {}
    for address in addresses:
        if address.username == superuser:
            raise StackError(f"{superuser} makes the roles and must not be one of them: name another")
        if not (address.username and address.password and address.database):
            shown = address.render_as_string(hide_password=True)
            raise StackError(f"{shown} names no user, password and database: provision needs all three")
        if passwords.setdefault(address.username, address.password) != address.password:
            raise StackError(f"the role {address.username} has two passwords in the addresses: give it one")


def let_in(db: psycopg.Connection, address: URL, rights: str) -> None:
    """The role is there and has the password. The server is only told its verifier, so no log has it."""
    assert address.username, "It was looked at."
    assert address.password, "It was looked at."
    name = sql.Identifier(address.username)
    if not db.execute("select 1 from pg_roles where rolname = %s", [address.username]).fetchone():
        db.execute(sql.SQL("create role {}").format(name))
    verifier = db.pgconn.encrypt_password(
        address.password.encode(), address.username.encode(), b"scram-sha-256"
    )
    db.execute(
        sql.SQL("alter role {} with login nosuperuser {} password {}").format(
            name, sql.SQL(rights), sql.Literal(verifier.decode())
        )
    )


def make_database(db: psycopg.Connection, address: URL) -> None:
    """The database is there, and nobody enters it by default: one neighbour does not see the other."""
    name = sql.Identifier(str(address.database))
    owner = sql.Identifier(str(address.username))
    if not db.execute("select 1 from pg_database where datname = %s", [address.database]).fetchone():
        db.execute(sql.SQL("create database {} template template0 owner {}").format(name, owner))
    db.execute(sql.SQL("revoke connect, temporary on database {} from public").format(name))


def give(db: psycopg.Connection, address: URL) -> None:
    """Whoever the address names may enter."""
    db.execute(
        sql.SQL("grant connect, temporary on database {} to {}").format(
            sql.Identifier(str(address.database)), sql.Identifier(str(address.username))
        )
    )
