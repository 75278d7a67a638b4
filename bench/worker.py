"""The worker as production runs it, with a channel that the benchmark chose: `python -m bench.worker null`.

The channel is `null`, or the URL of an SMTP server. A second word is an instant at which its clock begins.
Settings come from the environment alone.
"""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import uvloop

from channels.contract import Provider
from channels.letters import Raw
from channels.null import NullProvider
from channels.smtp import SmtpProvider
from dev.process import leave
from logs import configure_logging
from settings import Settings
from worker import collect_rarely, serve


@dataclass(frozen=True)
class Shifted:
    """A clock that is some time away from the system's."""

    by: timedelta

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by


def main(asked: str, begins: str | None = None) -> None:
    settings = Settings()
    configure_logging(settings.log_level, "worker")
    built_in: Provider[Raw] = NullProvider() if asked == "null" else SmtpProvider(asked)
    collect_rarely()
    clock = Shifted(datetime.fromisoformat(begins) - datetime.now(UTC)) if begins else None
    uvloop.run(serve(settings, built_in, clock))


if __name__ == "__main__":
    main(*sys.argv[1:3])
    leave(0)
