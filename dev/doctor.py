"""`campanile doctor`: looks at the machine and at the stack, and says how to mend what it finds."""

import asyncio
import json as to_json
import platform
import shutil
import smtplib
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import psycopg
from rich.console import Console
from sqlalchemy.engine import make_url

from dev import setup
from dev.places import ROOT
from dev.process import listens, remembered
from settings import Settings

LEAST_DISK = 2 * 1024**3  # Bytes: the environment, a built Temporal, and a demo's data.
OLDEST_POSTGRES = 180000  # As server_version_num.
START = "start the stack with `make dev`"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `mend` says what to do when it is not well."""

    what: str
    well: bool
    found: str
    mend: str = ""


def run(settings: Settings, *, json: bool) -> int:
    """0 when everything is well."""
    found = list(findings(settings))
    well = all(each.well for each in found)
    if json:
        sys.stdout.write(to_json.dumps({"well": well, "findings": [asdict(each) for each in found]}) + "\n")
        return 0 if well else 1
    console = Console(highlight=False, soft_wrap=True)
    for each in found:
        mark = "[green]✓[/]" if each.well else "[red]✗[/]"
        console.print(f"{mark} [bold]{each.what}[/]: {each.found}")
        if not each.well:
            console.print(f"    {each.mend}")
    return 0 if well else 1


def findings(settings: Settings) -> Iterator[Finding]:
    yield python()
    yield machine()
    yield disk()
    yield environment()
    yield stack(settings)
    for check in (database, migrations, temporal, smtp, api):
        yield guarded(check, settings)


def guarded(check: Callable[[Settings], Finding], settings: Settings) -> Finding:
    """A check that breaks is a finding too."""
    try:
        return check(settings)
    except Exception as error:  # noqa: BLE001 - the doctor looks at what is broken
        return Finding(check.__name__, False, f"{type(error).__name__}: {error}", START)


def python() -> Finding:
    version = platform.python_version()
    return Finding("Python", sys.version_info >= setup.OLDEST_PYTHON, version, "install Python 3.11 or newer")


def machine() -> Finding:
    problem = setup.unserved()
    here = f"{platform.system()} on {platform.machine()}, {' '.join(platform.libc_ver())}"
    return Finding("machine", problem is None, here, problem or "")


def disk() -> Finding:
    free = shutil.disk_usage(ROOT).free
    mend = f"free some space on the disk of {ROOT}"
    return Finding("disk", free >= LEAST_DISK, f"{free / 1024**3:.1f} GiB free", mend)


def environment() -> Finding:
    well = setup.is_set_up()
    return Finding(".venv", well, "as locked" if well else "not as the lock file says", "run `make setup`")


def stack(settings: Settings) -> Finding:
    pid = remembered(settings.state / "run" / "stack.json")
    if pid is not None:
        return Finding("embedded stack", True, f"runs as process {pid}")
    taken = [str(port) for port in (settings.port, settings.tracking_port) if listens(port)]
    free = f"ports {', '.join(taken)} are in use, others will be taken" if taken else "its ports are free"
    return Finding("embedded stack", True, f"does not run; {free}")


def database(settings: Settings) -> Finding:
    url = make_url(settings.database_url)
    place = f"{url.host}:{url.port}/{url.database}"
    try:
        with psycopg.connect(conninfo(settings.database_url), connect_timeout=3) as db:
            number = db.info.server_version
            version = f"{number // 10000}.{number % 10000}"
    except psycopg.Error as error:
        said = str(error).strip().splitlines()[0]
        return Finding("PostgreSQL", False, f"{place}: {said}", f"{START}, or set DATABASE_URL")
    mend = "PostgreSQL 18 or newer is needed: point DATABASE_URL to one"
    return Finding("PostgreSQL", number >= OLDEST_POSTGRES, f"{version} at {place}", mend)


def migrations(settings: Settings) -> Finding:
    from dev.migrations import current
    from models.migrations.head import head

    try:
        at = current(settings.admin_database_url)
    except Exception:  # noqa: BLE001 - the finding before this one says why
        return Finding("migrations", False, "can't be read", f"{START}, or set ADMIN_DATABASE_URL")
    found = f"at {at}" if at == head() else f"at {at or 'none'}, and {head()} is the newest"
    return Finding("migrations", at == head(), found, "run `campanile migrate`")


def temporal(settings: Settings) -> Finding:
    mend = f"{START}, or set TEMPORAL_ADDRESS"
    host, _, port = settings.temporal_address.rpartition(":")
    if not listens(int(port), host):
        return Finding("Temporal", False, f"nothing answers at {settings.temporal_address}", mend)
    version = asyncio.run(temporal_version(settings))
    numbers = tuple(int(part) for part in version.split("-")[0].split("."))
    mend = "Temporal server 1.29.1 or newer is needed"
    return Finding("Temporal", numbers >= (1, 29, 1), f"{version} at {settings.temporal_address}", mend)


async def temporal_version(settings: Settings) -> str:
    from temporalio.api.workflowservice.v1 import GetSystemInfoRequest

    from workflows.temporal import connect

    async with asyncio.timeout(5):
        client = await connect(settings.temporal_address, settings.temporal_namespace)
        return (await client.workflow_service.get_system_info(GetSystemInfoRequest())).server_version


def smtp(settings: Settings) -> Finding:
    place = urlsplit(settings.smtp_url)
    kind = smtplib.SMTP_SSL if place.scheme == "smtps" else smtplib.SMTP
    where = f"{place.hostname}:{place.port}"
    try:
        with kind(place.hostname or "", place.port or 25, timeout=5) as server:
            code, _ = server.ehlo()
    except OSError as error:
        return Finding("SMTP", False, f"{where}: {error}", f"{START}, or set SMTP_URL")
    return Finding("SMTP", code == 250, f"{where} answers {code}", "set SMTP_URL to a server that takes mail")


def api(settings: Settings) -> Finding:
    try:
        with urllib.request.urlopen(f"{settings.api_url}/ready", timeout=5) as answer:
            ready = to_json.load(answer)
    except urllib.error.HTTPError as error:
        problem = to_json.load(error)
        return Finding("API", False, str(problem.get("detail", error)), "mend what it names, then look again")
    except OSError as error:
        return Finding("API", False, f"{settings.api_url}: {error}", f"{START}, or set API_URL")
    return Finding("API", ready["status"] == "ready", f"ready at {settings.api_url}", "see its log")


def conninfo(url: str) -> str:
    """SQLAlchemy's URL as libpq spells it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
