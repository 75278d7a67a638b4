"""What `campanile api` and `campanile tracking` become: the process that keeps those that answer.

`python -m dev.serving FOLDER TARGET HOST PORT WORKERS LOG_LEVEL NAME`, FOLDER being the one to work in. It
stays as long as they do, and neither reads settings nor knows what the application is made of: 25 MB less for
a process that only waits.
"""

import os
import sys


def main(folder: str, target: str, host: str, port: str, workers: str, log_level: str, name: str) -> None:
    """Serve until told to stop. A failure is one sentence."""
    try:
        os.chdir(folder)
        serve(target, host, int(port), int(workers), log_level, name)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - whatever it is, a person gets a sentence
        from dev.failures import in_a_sentence

        sys.exit(f"campanile: {in_a_sentence(error)}")


def serve(target: str, host: str, port: int, workers: int, log_level: str, name: str) -> None:
    from granian import Granian
    from granian.constants import Interfaces, Loops

    from logs import configure_logging

    configure_logging(log_level, name)
    Granian(
        target,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        factory=True,
        workers=workers,
        loop=Loops.uvloop,
        log_dictconfig={"loggers": {"_granian": {"handlers": [], "propagate": True}}},  # In our form.
        websockets=False,
        workers_kill_timeout=5,
        respawn_failed_workers=False,
    ).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
