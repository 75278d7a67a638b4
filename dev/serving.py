"""What `campanile api` and `campanile tracking` become: the process that keeps those that answer.

`python -m dev.serving TARGET HOST PORT WORKERS LOG_LEVEL NAME`. It stays as long as they do, and neither
reads settings nor knows what the application is made of: 25 MB less for a process that only waits.
"""

import sys

from granian import Granian
from granian.constants import Interfaces, Loops

from logs import configure_logging


def main(target: str, host: str, port: str, workers: str, log_level: str, name: str) -> None:
    """Serve until told to stop. A failure is one sentence."""
    configure_logging(log_level, name)
    try:
        Granian(
            target,
            address=host,
            port=int(port),
            interface=Interfaces.ASGI,
            factory=True,
            workers=int(workers),
            loop=Loops.uvloop,
            log_dictconfig={"loggers": {"_granian": {"handlers": [], "propagate": True}}},  # In our form.
            websockets=False,
            workers_kill_timeout=5,
            respawn_failed_workers=False,
        ).serve()
    except Exception as error:  # noqa: BLE001 - whatever it is, a person gets a sentence
        from dev.failures import in_a_sentence

        sys.exit(f"campanile: {in_a_sentence(error)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
