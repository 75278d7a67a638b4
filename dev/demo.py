"""`campanile demo`: the stack, the story on the sample data, and a summary."""

import asyncio
import json as to_json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx2
from rich.console import Console
from rich.table import Table

from dev.carriers import breaker_in_words, in_words, other_routes
from dev.forget import check, forget
from dev.importing import asked, client
from dev.places import ROOT
from dev.process import StackError
from dev.shop import Shop
from dev.stack import Running, Stack
from dev.story import CARRIERS, PREFIX, Story, Summary, in_the_way
from dev.terminal import addresses, of_settings, running_stack, wishes
from settings import Settings, read_settings

ORDERS = ROOT / "samples" / "cdnow_orders.csv"
LABELS = {"queued": "queued at the start", "twice": "got it twice"}


def run(settings: Settings, *, json: bool, once: bool, others_too: bool) -> int:
    """Run the demo. With `once`, or where nobody sits at a terminal, it leaves after the summary.

    `others_too` lets the lines go that others have about the customers of the last run.
    """
    console = Console(stderr=json, highlight=False, soft_wrap=True)
    begun = time.monotonic()
    try:
        with stack_for(console) as stack:
            settings = read_settings()  # Now with the addresses that the stack got.
            if stack:
                console.print(f"The stack took {time.monotonic() - begun:.1f} s to start.")
            summary = tell(settings, console, others_too=others_too)
            if json:
                sys.stdout.write(to_json.dumps(summary.as_json()) + "\n")
            else:
                console.print(table(summary))
            if stack and not once and not json and sys.stdout.isatty():
                console.print(addresses(of_settings(settings)))
                console.print(
                    "The flow and the campaign are in Temporal, their mails in the mailbox. Ctrl-C stops."
                )
                stack.watch()
    except KeyboardInterrupt:
        console.print("Stopped.")
    return 0


@contextmanager
def stack_for(console: Console) -> Iterator[Stack | None]:
    """This clone's stack: a new one, or None for the one that somebody runs already."""
    with ExitStack() as left:
        try:
            stack = left.enter_context(running_stack(wishes(), console))
        except Running:
            console.print("Using the stack of this clone that runs already.")
            stack = None
        yield stack


def tell(settings: Settings, console: Console, *, others_too: bool) -> Summary:
    def say(what: str) -> None:
        console.print(f"  {what}", markup=False)

    with client(settings) as api:
        if wrong := in_the_way(asked(api.get("/api/v1/workspace")), other_routes(api, CARRIERS)):
            raise StackError(wrong)
        if not others_too:
            check(settings.admin_database_url, PREFIX)
        end_last_flows(api)
        forget(settings.admin_database_url, PREFIX, others_too=others_too)
        shop = Shop(api, settings.api_public_key, ORDERS)
        return asyncio.run(Story(api, shop, settings.mailbox_url, say).tell())


def end_last_flows(api: httpx2.Client) -> None:
    """A flow of the last run that is live would outlive its rows."""
    for flow in asked(api.get("/api/v1/flows", params={"limit": 100}))["items"]:
        if flow["name"].startswith(PREFIX) and flow["state"] in {"live", "paused"}:
            asked(api.post(f"/api/v1/flows/{flow['id']}/archive"))


def table(of: Summary) -> Table:
    shown = Table(title="What happened", show_header=False)
    for what, count in (
        ("profiles", of.profiles),
        ("orders", of.orders),
        ("events of a visit", of.visit),
        ("in the segment", of.segment),
        *((f"campaign: {LABELS.get(name, name)}", count) for name, count in of.campaign.items()),
        ("campaign: opened", of.opened),
        ("campaign: clicked", of.clicked),
        *((f"flow: {name}", count) for name, count in of.flow.items()),
        ("mails in the mailbox", of.mailbox),
    ):
        shown.add_row(what, f"{count:,}")
        if what == "campaign: accepted":
            for one in of.providers:
                shown.add_row(f"  by {one['provider']}", in_words(one))
    for one in of.providers:
        shown.add_row(f"breaker of {one['provider']}", breaker_in_words(one))
    back = of.returned
    shown.add_row(
        f"in the segment after customer {back['customer']} bought again",
        f"{back['after']:,}, {back['seconds']:.2f} s later",
    )
    return shown
