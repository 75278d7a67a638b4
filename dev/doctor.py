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
from contextlib import suppress
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
    yield guarded("embedded stack", stack, settings)
    yield guarded("PostgreSQL", database, settings)
    yield guarded("migrations", migrations, settings)
    yield guarded("Temporal", temporal, settings)
    yield guarded("SMTP", smtp, settings)
    yield guarded("API", api, settings)


def guarded(what: str, check: Callable[[Settings], Finding], settings: Settings) -> Finding:
    """A check that breaks is a finding too."""
    try:
        return check(settings)
    except Exception as error:  # noqa: BLE001 - the doctor looks at what is broken
        return Finding(what, False, f"{type(error).__name__}: {error}", f"look at its setting, or {START}")


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
    taken = [str(port) for port in ports(settings) if listens(port)]
    free = f"others use {', '.join(taken)}, so it will take other ports" if taken else "its ports are free"
    return Finding("embedded stack", True, f"does not run; {free}")


def ports(settings: Settings) -> list[int]:
    """What the stack would like to listen on."""
    urls = (settings.smtp_url, settings.mailbox_url, settings.temporal_ui_url, settings.database_url)
    named = [urlsplit(url).port for url in (*urls, f"//{settings.temporal_address}")]
    return sorted({settings.port, settings.tracking_port, *(port for port in named if port)})


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
    assert place.hostname, "The settings see to it."
    kind = smtplib.SMTP_SSL if place.scheme == "smtps" else smtplib.SMTP
    where = f"{place.hostname}:{place.port}"
    try:
        with kind(place.hostname, place.port or 25, timeout=5) as server:
            code, _ = server.ehlo()
    except OSError as error:
        return Finding("SMTP", False, f"{where}: {reason(error)}", f"{START}, or set SMTP_URL")
    return Finding("SMTP", code == 250, f"{where} answers {code}", "set SMTP_URL to a server that takes mail")


def api(settings: Settings) -> Finding:
    try:
        with urllib.request.urlopen(f"{settings.api_url}/ready", timeout=5) as answer:
            ready = to_json.load(answer)
    except urllib.error.HTTPError as error:
        with suppress(ValueError):
            said = str(to_json.load(error).get("detail", error))
            return Finding("API", False, said, "mend what it names, then look again")
        return somebody_else(settings)
    except ValueError:
        return somebody_else(settings)
    except OSError as error:
        return Finding("API", False, f"{settings.api_url}: {reason(error)}", f"{START}, or set API_URL")
    return Finding("API", ready["status"] == "ready", f"ready at {settings.api_url}", "see its log")


def somebody_else(settings: Settings) -> Finding:
    found = f"what answers at {settings.api_url} is not Campanile"
    return Finding("API", False, found, f"{START}, or set API_URL")


def reason(error: OSError) -> str:
    """Why something does not answer, without numbers and wrappings."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)


def conninfo(url: str) -> str:
    """SQLAlchemy's URL as libpq spells it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
