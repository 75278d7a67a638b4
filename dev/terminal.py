"""The stack as a person at a terminal meets it: progress, addresses, Ctrl-C."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.table import Table

from dev.process import StackError, remembered
from dev.stack import Running, Stack
from settings import STACK_ENV, Settings, read_settings


def run(n8n: bool = False) -> int:
    """Start the stack, with n8n if it is wanted, and stay until Ctrl-C or SIGTERM."""
    console = Console(highlight=False, soft_wrap=True)
    settings = wishes()
    try:
        beside = wanted_n8n(settings, console) if n8n else None
        with running_stack(settings, console) as stack:
            if beside:
                beside(stack)
            console.print(addresses(stack.addresses))
            console.print(f"Logs are in {settings.state / 'logs'}. Ctrl-C stops everything.")
            stack.watch()
    except Running as error:
        console.print(f"{error}. {'Stop it first. ' if n8n else ''}It is here:")
        console.print(addresses(of_settings(read_settings())))
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
    return 0


def wanted_n8n(settings: Settings, console: Console) -> Callable[[Stack], None]:
    """n8n, installed before anything starts: what starts it beside a stack.

    Raises Running where installing it would be in vain. Without our node n8n runs all the same.
    """
    if (process := remembered(settings.state / "run" / "stack.json")) is not None:
        raise Running(f"the stack of this clone runs already (process {process})")
    from dev.n8n import N8n
    from dev.n8n_nodes import build
    from dev.n8n_program import program

    def say(what: str) -> None:
        console.print(f"  {what}", markup=False)

    installed = program(say)
    try:
        build(installed, settings.state / "logs" / "n8n-nodes.log", say)
    except StackError as error:
        say(f"n8n starts without our node: {error}")

    def start(stack: Stack) -> None:
        part = N8n(installed, stack.state, stack.addresses, settings.n8n_port, say)
        stack.tell_port("N8N_PORT", settings.n8n_port, part.port)
        stack.beside("n8n", part, {"N8N_URL": part.url})

    return start


@contextmanager
def running_stack(settings: Settings, console: Console) -> Iterator[Stack]:
    """The stack, while it is entered. SIGINT, SIGTERM and SIGHUP end it, by KeyboardInterrupt.

    SIGINT too where a script began it with `&` and had it ignored: nobody else ends it then.
    Raises Running when this clone's stack runs already, StackError when a part can't start.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
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
    state = os.environ.get("STATE_DIR", ".campanile")
    table = Table(show_header=False, box=None, padding=(0, 2))
    for what, where in (
        ("API", f"{of['API_URL']}/docs"),
        ("Mailbox", f"{of['API_URL']}/mailbox"),
        ("Temporal", of["TEMPORAL_UI_URL"]),
        ("SMTP", of["SMTP_URL"]),
        ("Key", f"API_KEY in {state}/stack.env"),
        ("Owner", f"email and password in {state}/owner.json"),
        *(
            (
                ("n8n", of["N8N_URL"]),
                ("n8n's owner", f"email and password in {state}/n8n/account.json"),
            )
            if of.get("N8N_URL")
            else ()
        ),
    ):
        table.add_row(f"[bold]{what}[/]", where)
    return table
