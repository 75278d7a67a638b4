"""Structured logs: one JSON object a line, with whatever the request or workflow bound to its context.

`structlog.contextvars.bind_contextvars(request_id=…)` adds a field to every line that follows in the
same task; lines of libraries that use the standard `logging` come out in the same form.
"""

import logging
import sys
from collections.abc import Callable

import orjson
import structlog

# Local variables of a frame may hold a person's data or a secret.
WITHOUT_LOCALS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def configure_logging(level: str = "INFO", process: str = "campanile") -> None:
    """Send every log line of this process to standard output.

    `level` is a name of the standard library's; `process` (api, worker, …) is a field of every line.
    """

    def with_process(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        with_process,
        structlog.stdlib.ExtraAdder(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared[:-1],
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(WITHOUT_LOCALS),
                structlog.processors.JSONRenderer(serializer=as_json),
            ],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # Seven lines when it is loaded.


def as_json(event: object, default: Callable[[object], object] | None = None, **_: object) -> str:
    return orjson.dumps(event, default=default or str).decode()
