"""What a server process begins with: `granian --interface asgi --factory api.start:everything`.

Nearly all that is made while the modules load and the API is put together stays. The collector would look at
it again and again meanwhile, for an eighth of the time that a start takes.
"""

import gc

from starlette.types import ASGIApp


def everything() -> ASGIApp:
    """The API, both kinds of tracking, and webhooks: see `api.app`."""
    gc.disable()
    from api.app import create_app

    return create_app()


def outside() -> ASGIApp:
    """Both kinds of tracking alone: see `api.outside`."""
    gc.disable()
    from api.outside import create_app

    return create_app()
