"""Refusals on the wire: every error is a problem of RFC 9457, in words, and never a traceback."""

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any, get_args

import psycopg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import Scope
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import CampanileError, Conflict, Invalid, NotFound, Refused, Stale

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
_MOST_FAULTS = 100  # Of one body that are told: to find words for each takes time.
_FEW_FIELDS = 15  # That are all named to whoever sends another.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_MEMBER = re.compile(r"<\w{1,60}\.\w{1,60}: ('[^'<>]{1,60}')>")  # As pydantic quotes one of an enumeration.
# The last: no worker has answered a workflow for a while, so it can't be asked for a change.
TEMPORAL_AWAY = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.FAILED_PRECONDITION,
)


class Unauthorized(CampanileError):
    """Nobody knows who asks."""


class SecondFactorRequired(Unauthorized):
    """The password was right, and is not enough."""


class Forbidden(CampanileError):
    """We know who asks, and they may not."""


class Unavailable(CampanileError):
    """Something that we need is away; the same request may succeed later."""


class TooLarge(CampanileError):
    """More was sent than we read."""


class TooMany(CampanileError):
    """More was asked than is allowed in a while."""

    def __init__(self, message: str, retry_after: int) -> None:
        """`retry_after` is in seconds."""
        super().__init__(message)
        self.retry_after = retry_after


STATUS: dict[type[CampanileError], tuple[HTTPStatus, str, str]] = {
    NotFound: (HTTPStatus.NOT_FOUND, "not-found", "There is no such thing"),
    Conflict: (HTTPStatus.CONFLICT, "conflict", "Not in this state"),
    Stale: (HTTPStatus.PRECONDITION_FAILED, "precondition-failed", "It was changed meanwhile"),
    Invalid: (HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "The request breaks a rule"),
    Refused: (HTTPStatus.UNPROCESSABLE_ENTITY, "refused", "Not as things are"),
    Unauthorized: (HTTPStatus.UNAUTHORIZED, "unauthorized", "Who are you?"),
    SecondFactorRequired: (HTTPStatus.UNAUTHORIZED, "second-factor-required", "The second factor, please"),
    Forbidden: (HTTPStatus.FORBIDDEN, "forbidden", "Not yours to do"),
    Unavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "Something is away"),
    TooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "Too large"),
    TooMany: (HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests", "Too many requests"),
}


class FieldError(BaseModel):
    """One thing that is wrong with what was sent."""

    pointer: str = Field(description="JSON pointer (RFC 6901) to the field, `/name` for a parameter.")
    part: str = Field(alias="in", description="body, query, path or header.")
    detail: str

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)


class Problem(BaseModel):
    """Why a request was not answered as asked (RFC 9457)."""

    type: str = Field(description="A name for this kind of problem that never changes.")
    title: str
    status: int
    detail: str = Field(description="A sentence that says what to do.")
    errors: list[FieldError] = Field(description="The fields at fault; empty when no field is.")
    request_id: str | None = Field(description="What to quote when you ask about it; our logs carry it.")

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:campanile:problem:invalid",
                "title": "The request breaks a rule",
                "status": 422,
                "detail": "name: This field is required.",
                "errors": [{"pointer": "/name", "in": "body", "detail": "This field is required."}],
                "request_id": "0199f1c2a4b07c1e8d2f3a4b5c6d7e8f",
            }
        }
    )


def problem(
    status: int, kind: str, title: str, detail: str, errors: Sequence[FieldError] = (), **headers: str
) -> JSONResponse:
    """The response for one problem. `headers` are named with underscores."""
    body = Problem(
        type=f"urn:campanile:problem:{kind}",
        title=title,
        status=status,
        detail=detail,
        errors=list(errors),
        request_id=structlog.contextvars.get_contextvars().get("request_id"),
    )
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse(body.model_dump(mode="json"), status, media_type=MEDIA_TYPE, headers=named)


def of_error(error: Exception) -> JSONResponse:
    """The response for whatever went wrong. What nobody foresaw is logged, and answered without details."""
    if isinstance(error, RequestValidationError):
        return _validation(error)
    if isinstance(error, HTTPException):
        # FastAPI says 400 to whatever goes wrong while it reads a body; we may know better.
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else None
        return _refusal(known) if cause and (known := _foreseen(cause)) else _http(error)
    if refusal := _foreseen(error):
        return _refusal(refusal)
    log.error("A request failed", exc_info=error)
    return problem(
        500,
        "internal",
        "Something broke on our side",
        "This should not have happened. Our log has the details under the request_id.",
    )


def _foreseen(error: Exception) -> CampanileError | None:
    """What an error means to whoever asked, if we know."""
    match error:
        case CampanileError():
            return error
        case RPCError(status=status) if status in TEMPORAL_AWAY:
            return Unavailable("Temporal or its worker does not answer; nothing was changed. Try again soon.")
        case OperationalError() | InterfaceError() | PoolTimeout() | psycopg.OperationalError():
            log.warning("The database does not answer", error=str(error.__cause__ or error))
            return Unavailable("The database does not answer. Try again soon.")
        case DataError() | psycopg.DataError() | UnicodeEncodeError():
            return Invalid("Something in it can't be stored, such as a NUL or half a character.")
        case UnicodeDecodeError():
            return Invalid("It is not UTF-8, as JSON has to be.")
        case RecursionError():
            return Invalid("It is nested too deeply.")
    return None


def handle(app: FastAPI) -> None:
    """Let `app` answer every error with a problem."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, RequestValidationError):
            return _validation(error, _body_of(request.scope.get("route")))
        if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return _wrong_method(methods(app, request.scope))
        return of_error(error)

    for kind in (CampanileError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def methods(app: FastAPI, scope: Scope) -> list[str]:
    """All that an address answers. Each method is a route of its own; the framework names the first's."""
    found: set[str] = set()
    for method in METHODS:
        matches = (route.matches({**scope, "method": method})[0] for route in app.routes)
        if Match.FULL in matches:
            found.add(method)
    return sorted(found)


def _body_of(route: Any) -> type[BaseModel] | None:
    """What this operation's body must be, where that is an object with named fields."""
    field = getattr(route, "body_field", None)
    return _model_in(field.field_info.annotation) if field is not None else None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first model in an annotation, such as a list's or one that may be None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _fields(model: type[BaseModel] | None, place: Sequence[str | int] = ()) -> dict[str, FieldInfo]:
    """The fields at this place in such a body, by the names that are sent; none where nobody can tell."""
    fields = {each.alias or name: each for name, each in model.model_fields.items()} if model else {}
    names = [str(key) for key in place if not isinstance(key, int)]
    if not names:
        return fields
    inner = fields.get(names[0])
    return _fields(_model_in(inner.annotation), names[1:]) if inner else {}


def _wrong_method(allowed: list[str]) -> JSONResponse:
    named = ", ".join(allowed)
    detail = f"This address answers {named} only."
    return problem(405, "method-not-allowed", "Wrong method", detail, Allow=named)


def _refusal(error: CampanileError) -> JSONResponse:
    status, kind, title = next(STATUS[each] for each in type(error).__mro__ if each in STATUS)
    errors = [_field(each.field, each.message) for each in (error, *error.also) if each.field is not None]
    headers: dict[str, str] = {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW_Authenticate"] = "Bearer"
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry_After"] = "5"
    if isinstance(error, TooMany):
        headers["Retry_After"] = str(error.retry_after)
    detail = _about(errors) if errors and isinstance(error, Invalid) else error.message
    return problem(status, kind, title, detail, errors, **headers)


def _about(errors: Sequence[FieldError]) -> str:
    """The first error with its field's name, and how many more there are."""
    where = errors[0].pointer.strip("/").replace("/", ".")
    detail = f"{where}: {errors[0].detail}" if where else errors[0].detail
    return detail if len(errors) == 1 else f"{detail} (and {len(errors) - 1} more)"


def _field(field: str, detail: str) -> FieldError:
    """`field` is a pointer into the body, ?name for a query parameter, or #name for a header."""
    if field.startswith(("?", "#")):
        part = "query" if field[0] == "?" else "header"
        return FieldError(pointer=f"/{field[1:]}", part=part, detail=detail)
    return FieldError(pointer=field, part="body", detail=detail)


def _http(error: HTTPException) -> JSONResponse:
    """What the framework refuses by itself."""
    match error.status_code:
        case 404:
            detail = (
                "There is nothing at this address; /docs lists what there is, and docs/tracking.md the calls "
                "of the tracking API, such as POST /track."
            )
            return problem(404, "not-found", "There is no such thing", detail)
        case 400:  # It could not even be taken apart, such as a form of several parts.
            return _refusal(Invalid(f"The body can't be read: {str(error.detail).rstrip('.')}."))
        case status:
            phrase = HTTPStatus(status).phrase
            detail = str(error.detail).rstrip(".") + "."
            return problem(status, phrase.lower().replace(" ", "-"), phrase, detail)


def at_fault(error: ValidationError, body: Any, model: type[BaseModel] | None = None) -> list[FieldError]:
    """What is wrong with a part of a body that was validated by itself as this model, in the words of all our
    refusals."""
    return [
        _in_words({**each, "loc": ("body", *each["loc"])}, body, model)
        for each in error.errors()[:_MOST_FAULTS]
    ]


def _validation(error: RequestValidationError, model: type[BaseModel] | None = None) -> JSONResponse:
    """`model` is what the body must be."""
    errors = [_in_words(each, error.body, model) for each in error.errors()[:_MOST_FAULTS]]
    if wanted := [name for name, field in _fields(model).items() if field.is_required()]:
        for each in errors:
            each.detail = each.detail.replace("a JSON body.", f"a JSON body with {', '.join(wanted)}.")
    status, kind, title = STATUS[Invalid]
    return problem(status, kind, title, _about(errors), errors)


_NO_ID = "This is no id; copy one from an answer, such as 0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f."
_NO_TIME = "This is no time: write one such as 2026-01-15T10:24:00Z, or a day such as 2026-01-15."
_NO_DAY = "This is no day: write one such as 2026-01-15."
_NO_HOUR = "This is no time of day: write one such as 21:00."
_NO_DURATION = "This is no duration: write seconds, such as 300, or PT5M (five minutes) or P1D (a day)."
# What pydantic's types of errors mean to whoever sent the value.
_SENTENCES = {
    "string_unicode": "This holds half a character; send whole ones.",
    **dict.fromkeys(("uuid_parsing", "uuid_type", "uuid_version"), _NO_ID),
    **dict.fromkeys(("datetime_parsing", "datetime_from_date_parsing"), _NO_TIME),
    **dict.fromkeys(("datetime_type", "datetime_object_invalid"), _NO_TIME),
    **dict.fromkeys(("date_parsing", "date_from_datetime_parsing"), _NO_DAY),
    **dict.fromkeys(("date_from_datetime_inexact", "date_type"), _NO_DAY),
    **dict.fromkeys(("time_parsing", "time_type"), _NO_HOUR),
    **dict.fromkeys(("time_delta_parsing", "time_delta_type"), _NO_DURATION),
    "string_pattern_mismatch": "Write it on one line.",  # There is one pattern: no line ends.
}


def _in_words(error: dict[str, Any], body: Any, model: type[BaseModel] | None = None) -> FieldError:
    part, *place = error["loc"]
    pointer = _pointer(place, error, body) if part == "body" else "/" + "/".join(map(str, place))
    match error["type"]:
        case "missing":
            detail = "This field is required." if place or part != "body" else "Send a JSON body."
        case "extra_forbidden":
            detail = no_such_field(str(place[-1]), [*_fields(model, place[:-1])])
        case "json_invalid":
            detail = f"The body is no valid JSON: {error['ctx']['error']}, at character {place[0]}."
        case "model_attributes_type" | "dict_type" | "model_type":
            detail = "Send a JSON object here."
            if isinstance(body, str | bytes):  # It was not even read as JSON.
                detail = "Send a JSON object here, with Content-Type: application/json."
        case known if known in _SENTENCES:
            detail = _SENTENCES[known]
        case _:
            message = str(error["msg"]).removeprefix("Value error, ")
            message = re.sub("^(Input|String|List|Dictionary) should", "This should", message)
            message = _MEMBER.sub(r"\1", message)
            message = re.sub(" after validation, not \\d+$", "", message)
            detail = message if message.endswith((".", "?", "!")) else f"{message}."
    return FieldError(pointer=pointer, part=str(part), detail=detail)


def no_such_field(name: str, there: Collection[str]) -> str:
    """A sentence about a field that nobody knows; `there` are those that there are, if anybody can tell."""
    if near := get_close_matches(name, there, 1):
        return f'There is no such field; did you mean "{near[0]}"?'
    few = f" There are: {', '.join(there)}." if 0 < len(there) <= _FEW_FIELDS else ""
    return f"There is no such field; take it out.{few}"


def _pointer(place: Sequence[str | int], error: dict[str, Any], body: Any) -> str:
    """The JSON pointer of an error: pydantic's place without the names of union members within it."""
    if error["type"] == "json_invalid":
        return ""
    if error["type"] == "missing":
        inside, last = list(place[:-1]), list(place[-1:])
    else:
        inside, last = list(place), []
    path = _path(body, inside, error.get("input"))
    keys = (_likely(body, inside) if path is None else path) + last
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def _path(value: Any, place: list[str | int], target: Any) -> list[str | int] | None:
    """The keys that lead from `value` to `target`, which are `place` but for some that are none."""
    if not place:
        return [] if value is target or value == target else None
    key, *rest = place
    if _has(value, key) and (path := _path(value[key], rest, target)) is not None:
        return [key, *path]
    return _path(value, rest, target)


def _likely(value: Any, place: Sequence[str | int]) -> list[str | int]:
    """The same, when what was found at fault had been converted before and is no part of the body."""
    path: list[str | int] = []
    for key in place:
        if _has(value, key):
            path.append(key)
            value = value[key]
    return path


def _has(value: Any, key: str | int) -> bool:
    if isinstance(value, Mapping):  # A form is one too.
        return key in value
    return isinstance(value, list) and isinstance(key, int) and key < len(value)
