"""What the world outside talks to, in a process of its own: the tracking paths and the tracking API.

`granian --interface asgi --factory api.outside:create_app`.
"""

from starlette.types import ASGIApp

from api import ingest, tracking
from api.collector import calm_the_collector
from api.front import Front
from logs import configure_logging
from settings import read_settings


def create_app() -> ASGIApp:
    """The server of one process, from its settings."""
    settings = read_settings()
    configure_logging(settings.log_level, "tracking")
    app = Front(None, tracking.build(settings), ingest.build(settings))
    calm_the_collector()
    return app
