"""The command line: what a person types, and what starts each process. Bodies are elsewhere.

Whatever goes wrong is one sentence on standard error that says what to do. The exit code is 2 for wrong use,
1 for a failure, 130 after Ctrl-C.
"""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer import Typer

from dev.process import leave, may_listen
from settings import ROOT, Settings, SettingsError, read_settings

app = Typer(
    name="campanile",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for a program to read.")]
Version = Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)]
Once = Annotated[bool, typer.Option("--once", help="Leave after the summary.")]
N8n = Annotated[bool, typer.Option("--n8n", help="With n8n beside it, installed on the first time.")]
Check = Annotated[bool, typer.Option("--check", help="Only say whether the one on this machine is at work.")]
Forget = Annotated[
    bool, typer.Option("--forget", help="Remove your own messages to the demo's customers with them.")
]


class FileFormat(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"


class ImportFormat(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


class Kind(StrEnum):
    CUSTOMERS = "customers"
    ORDERS = "orders"


@app.callback(invoke_without_command=True)
def campanile(version: Version = False) -> None:
    """Marketing automation whose flows are durable."""
    if version:
        from importlib.metadata import version as of

        typer.echo(f"campanile {of('campanile')}")
        raise typer.Exit


@app.command()
def demo(json: Json = False, once: Once = False, forget: Forget = False) -> None:
    """Start the stack, run the main job on the sample data, and show a summary."""
    from dev.demo import run

    raise typer.Exit(run(read_settings(), json=json, once=once, others_too=forget))


@app.command()
def dev(n8n: N8n = False) -> None:
    """Start the embedded stack and stay until Ctrl-C."""
    from dev.terminal import run

    raise typer.Exit(run(n8n))


@app.command()
def provision() -> None:
    """Make the roles and databases that the settings name, on a PostgreSQL of your own."""
    from dev.provision import run

    raise typer.Exit(run(read_settings()))


@app.command()
def migrate() -> None:
    """Bring the database to the newest migration."""
    from dev.migrations import migrate

    migrate(read_settings().admin_database_url)
    typer.echo("The database is at the newest migration.")


@app.command()
def namespace() -> None:
    """Make our namespace and search attributes, in a Temporal server of your own."""
    from dev.namespace import run

    raise typer.Exit(run(read_settings()))


@app.command("import")
def import_(
    kind: Kind,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="In UTF-8: CSV with a header, or JSON Lines (.jsonl).")
    ],
    live: Annotated[
        bool, typer.Option("--live", help="For orders: let new ones start flows; else they are history.")
    ] = False,
    format_: Annotated[
        ImportFormat | None, typer.Option("--format", help="By default what the file's name says.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--mapping",
            help='What columns are called here: JSON such as {"Mail": "email", "Note": null}, or its file.',
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read all and report, and store nothing.")
    ] = False,
    list_id: Annotated[
        str | None, typer.Option("--list", metavar="ID", help="Put the file's people on this list.")
    ] = None,
    json: Json = False,
) -> None:
    """Import customers or orders through the API. A bad row is reported and stops nothing."""
    from dev.importing import mapping, run

    said = {"format": format_, "mapping": mapping(columns), "list_id": list_id}
    wishes = {name: str(value) for name, value in said.items() if value is not None}
    wishes |= {"live": str(live).lower(), "dry_run": str(dry_run).lower()}
    raise typer.Exit(run(read_settings(), kind, file, wishes, json=json))


export = Typer(help="People and events as files.", no_args_is_help=True)
app.add_typer(export, name="export")

Format = Annotated[FileFormat, typer.Option("--format", help="csv, or parquet with types.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The file; standard output where there is none.")
]
Attributes = Annotated[
    list[str] | None, typer.Option("--attribute", help="One that gets a column of its own; repeat it.")
]


@export.command()
def profiles(format_: Format = FileFormat.CSV, output: Output = None, attribute: Attributes = None) -> None:
    """Export everybody."""
    exported("profiles", format_, output, {"attribute": attribute or []})


@export.command()
def segment(
    segment_id: Annotated[str, typer.Argument(help="Its id.")],
    format_: Format = FileFormat.CSV,
    output: Output = None,
    attribute: Attributes = None,
) -> None:
    """Export whom a segment picks now."""
    exported(f"segments/{segment_id}", format_, output, {"attribute": attribute or []})


@export.command("events")
def export_events(
    format_: Format = FileFormat.CSV,
    output: Output = None,
    name: Annotated[str | None, typer.Option("--name", help="Only events of this name.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="Received at this time or later.")] = None,
    before: Annotated[str | None, typer.Option("--to", help="Received before this time.")] = None,
) -> None:
    """Export events."""
    asked = {"name": name, "from": since, "to": before}
    exported("events", format_, output, {each: value for each, value in asked.items() if value})


def exported(what: str, format_: FileFormat, output: Path | None, asked: dict[str, str | list[str]]) -> None:
    from dev.exporting import run

    raise typer.Exit(run(read_settings(), what, output, {"format": format_.value, **asked}))


@app.command()
def worker(check: Check = False) -> None:
    """Run a worker until it is told to stop."""
    if check:
        from dev.at_work import run

        raise typer.Exit(run(read_settings()))
    import worker as process

    process.main(started("worker"))


@app.command()
def api() -> None:
    """Serve the API, with both kinds of tracking, until told to stop."""
    serve("api.start:everything", "api")


@app.command()
def tracking() -> None:
    """Serve the tracking paths and the tracking API alone, for a machine or an address of their own."""
    serve("api.start:outside", "tracking")


secrets = Typer(help="Secrets at rest.", no_args_is_help=True)
app.add_typer(secrets, name="secrets")


@secrets.command()
def rotate(json: Json = False) -> None:
    """Seal every secret anew under the first of ENCRYPTION_KEYS."""
    from dev.rotation import run

    raise typer.Exit(run(read_settings(), json=json))


events = Typer(help="Events, as they come in.", no_args_is_help=True)
app.add_typer(events, name="events")


@events.command()
def tail(
    name: Annotated[str | None, typer.Option("--name", help="Only events of this name.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Follow what comes in, and what was refused or put aside and why, until Ctrl-C.

    An identify or an alias that was taken is no event: it shows by what it leads to, such as a profile.
    """
    from dev.tailing import run

    raise typer.Exit(run(read_settings(), name, json=json))


@app.command()
def doctor(json: Json = False) -> None:
    """Check this machine and the stack, and say how to mend what is wrong."""
    from dev.doctor import run

    raise typer.Exit(run(read_settings(), json=json))


def started(process: str) -> Settings:
    """The settings of a process that logs."""
    from logs import configure_logging

    settings = read_settings()
    if settings.endpoints:  # To know all kinds takes a second.
        from channels.world import misspelt

        if wrong := misspelt(settings.endpoints):
            raise SettingsError(f"PROVIDER_ENDPOINTS can't be used: {wrong}")
    configure_logging(settings.log_level, process)
    return settings


def serve(target: str, name: str) -> NoReturn:
    """Go on as the process that keeps those that answer, once its settings are found good."""
    settings = started(name)
    port = settings.tracking_port if name == "tracking" else settings.port
    may_listen(port, settings.host)  # Granian would share the port, and half of the requests.
    words = [target, settings.host, str(port), str(settings.api_workers), settings.log_level, name]
    folder = Path.cwd()
    os.chdir(ROOT)  # Where -m looks first.
    os.execv(sys.executable, [sys.executable, "-m", "dev.serving", str(folder), *words])


def main() -> None:
    """Run a command and leave with its code. Never a traceback."""
    leave(outcome())


def outcome() -> int:
    from dev.failures import in_a_sentence

    try:
        return app(standalone_mode=False) or 0
    except typer.TyperException as error:
        wrong = " ".join(error.format_message().replace("Value error, ", "").split())
        if not wrong:  # Without a command, its help was the answer.
            return error.exit_code
        hint = "" if error.exit_code != 2 else f" See `{' '.join(command_named(error))} --help`."
        sys.stderr.write(f"campanile: {wrong.rstrip('.')}.{hint}\n")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except SettingsError as error:
        sys.stderr.write(f"campanile: {error}\n")
        return 1
    except Exception as error:  # noqa: BLE001 - whatever it is, a person gets a sentence
        sys.stderr.write(f"campanile: {in_a_sentence(error)}\n")
        return 1


def command_named(error: typer.TyperException) -> list[str]:
    """The words that lead to the command that was used wrongly."""
    context = getattr(error, "ctx", None)
    return str(context.command_path).split() if context else ["campanile"]


if __name__ == "__main__":
    main()
