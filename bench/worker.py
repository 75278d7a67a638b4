"""The worker as production runs it, with a channel that the benchmark chose: `python -m bench.worker null`.

The channel is `null`, or the URL of an SMTP server. Settings come from the environment alone.
"""

import sys

import uvloop

from channels.contract import Channel
from channels.null import NullChannel
from channels.smtp import SmtpChannel
from logs import configure_logging, leave
from settings import Settings
from worker import collect_rarely, serve


def main(asked: str) -> None:
    settings = Settings()
    configure_logging(settings.log_level, "worker")
    channel: Channel = NullChannel() if asked == "null" else SmtpChannel(asked)
    collect_rarely()
    uvloop.run(serve(settings, channel))


if __name__ == "__main__":
    main(sys.argv[1])
    leave(0)
