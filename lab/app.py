"""The provider lab: the outside world as one program, which keeps what it takes and fails on command.

`python -m lab.app --port N` serves SES, SendGrid and the others at the paths of the real ones, so that each
client is only told where they are. `ProviderLab` is the same inside a test:

    async with ProviderLab() as lab:
        client = boto3.client("sesv2", endpoint_url=lab.url, …)
        lab.fail("ses", status=429, times=3)
"""

import argparse
import asyncio
import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Self

import uvloop
from fastapi import FastAPI

from lab import (
    control,
    mixmax,
    news,
    push,
    receiver,
    sendgrid,
    sendgrid_reports,
    ses,
    ses_reports,
    twilio,
    twilio_reports,
    whatsapp,
    whatsapp_reports,
)
from lab.asgi_server import AsgiServer
from lab.desk import Desk
from lab.http_faults import HttpFault
from lab.record import Accepted, Record
from lab.reports import Hook, Posting, Reporter

PROVIDERS = {
    "ses": ses, "sendgrid": sendgrid, "mixmax": mixmax, "twilio": twilio, "push": push, "webhook": receiver,
    "whatsapp": whatsapp,
}  # fmt: skip


NEWSROOMS = {
    "ses": ses_reports, "sendgrid": sendgrid_reports, "twilio": twilio_reports, "whatsapp": whatsapp_reports,
}  # fmt: skip


def build(desk: Desk, reporter: Reporter) -> FastAPI:
    """The program around one state."""
    app = FastAPI(title="Provider lab", openapi_url=None)
    app.state.desk, app.state.reporter = desk, reporter
    app.include_router(control.router)
    app.include_router(news.router)
    for name, module in PROVIDERS.items():
        app.include_router(module.router)
        desk.record.readers[name] = module.contents
    return app


class ProviderLab:
    """The lab on a port of its own while it is entered (`async with`); `url` says where."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        url: str = "",
        keep: Path | None = None,
        fast: bool = False,
    ) -> None:
        self.desk = Desk(Record(keep, fast=fast), url=url)
        self.reporter = Reporter(self.desk, NEWSROOMS)
        self.server = AsgiServer(build(self.desk, self.reporter), host=host, port=port)

    async def __aenter__(self) -> Self:
        await self.server.__aenter__()
        self.desk.url = self.desk.url or self.server.url
        await self.reporter.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.reporter.__aexit__()
        await self.server.__aexit__()
        self.desk.record.close()

    @property
    def url(self) -> str:
        return self.desk.url

    @property
    def port(self) -> int:
        return self.server.port

    def accepted(self, provider: str | None = None, recipient: str | None = None) -> list[Accepted]:
        """What was accepted so far, oldest first."""
        return list(self.desk.record.find(provider, recipient))

    def content(self, one: Accepted) -> dict[str, Any]:
        """What its recipient would see."""
        return self.desk.record.content(one)

    def fail(self, provider: str = "*", **fault: Any) -> HttpFault:
        """Let this go wrong from now on, beside what already does; the fields are those of `HttpFault`."""
        return self.desk.faults.add(HttpFault(provider=provider, **fault))

    async def report(self, provider: str, url: str = "", **hook: Any) -> None:
        """Report to this address from now on; the fields are those of `Hook`. Raises `news.Unanswered` where
        the address does not shake hands as it must."""
        wish = Hook.model_validate({"provider": provider, "url": url, **hook})
        await news.introduce(self.desk, self.reporter, wish)

    async def fire(self, message: Accepted, outcome: str) -> None:
        """Report now that this became of a message, and wait until it has been told."""
        self.reporter.tell(message, outcome)
        await self.reporter.settled()

    def postings(self, message: Accepted, outcome: str) -> list[Posting]:
        """The webhooks that would report it, for those who post them themselves."""
        return self.reporter.written(message.provider, self.reporter.story(message, outcome))

    def lose_the_next_reply(self, provider: str = "*") -> HttpFault:
        """Accept the next call, and hang up before the client hears of it."""
        return self.fail(provider, lost_reply=True, times=1)


async def serve(lab: ProviderLab) -> None:
    """Serve until SIGINT or SIGTERM. The first line on standard output is JSON with the port."""
    stop = asyncio.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    async with lab:
        sys.stdout.write(json.dumps({"port": lab.port}) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.app", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--url", default="", help="where others find it, if not at host and port")
    parser.add_argument("--keep", type=Path, help="a file that gets a line of JSON for each message")
    parser.add_argument("--fast", action="store_true", help="keep counts alone, look at one entry of a call")
    parser.add_argument("--fault", action="append", default=[], help="the fields of a fault, as JSON")
    given = parser.parse_args(arguments)
    url = given.url.rstrip("/")
    lab = ProviderLab(host=given.host, port=given.port, url=url, keep=given.keep, fast=given.fast)
    for fault in given.fault:
        lab.desk.faults.add(HttpFault.model_validate_json(fault))
    try:
        uvloop.run(serve(lab))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        why = os.strerror(error.errno)
        sys.exit(f"lab: it can't listen on {given.host}:{given.port} ({why}): give another --port")


if __name__ == "__main__":
    main(sys.argv[1:])
