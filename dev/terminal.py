"""The stack as a person at a terminal meets it: progress, addresses, Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.table import Table

from dev.process import remembered
from dev.stack import Running, Stack
from settings import STACK_ENV, Settings, read_settings


def run() -> int:
    """Start the stack and stay until Ctrl-C or SIGTERM."""
    console = Console(highlight=False, soft_wrap=True)
    settings = wishes()
    try:
        with running_stack(settings, console) as stack:
            console.print(addresses(stack.addresses))
            console.print(f"Logs are in {settings.state / 'logs'}. Ctrl-C stops everything.")
            stack.watch()
    except Running as error:
        console.print(f"{error}. It is here:")
        console.print(addresses(of_settings(read_settings())))
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
    return 0


@contextmanager
def running_stack(settings: Settings, console: Console) -> Iterator[Stack]:
    """The stack, while it is entered. SIGTERM and SIGHUP end it as Ctrl-C does, by KeyboardInterrupt.

    Raises Running when this clone's stack runs already, StackError when a part can't start.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    stack = Stack(settings, say=lambda what: console.print(f"  {what}", markup=False))
    with stack:
        try:
            yield stack
        except KeyboardInterrupt:
            console.print("Stopping …")
            raise
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # It is under way, and takes seconds at most.


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def wishes() -> Settings:
    """The settings as the person wants them, without what a stack that is gone said of itself."""
    settings = read_settings()
    if remembered(settings.state / "run" / "stack.json") is None:
        (settings.state / STACK_ENV).unlink(missing_ok=True)
    return read_settings()


def of_settings(settings: Settings) -> dict[str, str]:
    """The addresses of the stack that another process runs."""
    return {name.upper(): str(value) for name, value in settings.model_dump().items()}


def addresses(of: dict[str, str]) -> Table:
    """Where to look."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    for what, where in (
        ("API", f"{of['API_URL']}/docs"),
        ("Mailbox", f"{of['API_URL']}/mailbox"),
        ("Temporal", of["TEMPORAL_UI_URL"]),
        ("SMTP", of["SMTP_URL"]),
        ("Key", "API_KEY in .campanile/stack.env"),
        ("Owner", "email and password in .campanile/owner.json"),
    ):
        table.add_row(f"[bold]{what}[/]", where)
    return table
