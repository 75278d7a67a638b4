"""What went wrong, in one sentence for the person at the terminal."""

import traceback
from pathlib import Path

from dev.places import state
from dev.process import StackError
from domain.errors import CampanileError
from settings import SettingsError


def in_a_sentence(error: BaseException) -> str:
    """A sentence that says what to do. Of what nobody foresaw, the details are kept in a file."""
    if isinstance(error, StackError | CampanileError | SettingsError):
        return str(error)
    return of_a_server(error) or of_this_machine(error) or unforeseen(error)


def of_a_server(error: BaseException) -> str | None:
    """What the API, PostgreSQL or Temporal did, if it was one of them."""
    import httpx2
    import psycopg
    from sqlalchemy.exc import DBAPIError
    from temporalio.service import RPCError

    match error:
        case httpx2.ConnectError():
            return f"nothing answers at {origin(error)}: start the stack with `make dev`, or set API_URL"
        case httpx2.TimeoutException():
            return f"{origin(error)} took too long to answer: see whether it is well with `campanile doctor`"
        case httpx2.HTTPError():
            return f"the connection to the API broke ({error}): see `campanile doctor`, then try again"
        case DBAPIError(orig=inner) if inner is not None:
            return of_a_server(inner)
        case psycopg.Error():
            said = str(error).strip().splitlines()[:1] or [type(error).__name__]
            return f'PostgreSQL said "{said[0]}": `campanile doctor` says what to do'
        case RPCError() | RuntimeError() if "onnect" in str(error):
            return "Temporal can't be reached: start the stack with `make dev`, or set TEMPORAL_ADDRESS"
    return None


def of_this_machine(error: BaseException) -> str | None:
    match error:
        case OSError(strerror=str(reason), filename=name) if name:
            return f"{name}: {reason}"
        case ModuleNotFoundError(name=name):
            return f"the package {name} is missing: run `make setup`"
    return None


def unforeseen(error: BaseException) -> str:
    kept = keep(error)
    return f"something unforeseen happened ({type(error).__name__}: {error}); the details are in {kept}"


def origin(error: object) -> str:
    """Where the request of an HTTP error went."""
    request = getattr(error, "_request", None)
    return f"{request.url.scheme}://{request.url.netloc.decode()}" if request else "the API"


def keep(error: BaseException) -> Path:
    file = state() / "logs" / "crash.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as log:
        log.writelines(traceback.format_exception(error))
    return file
