"""One HTTP call to a provider, on kept connections and without any repetition.

What can go wrong is one of two things, and the ledger lives by the difference: nothing of the call can have
been heard (`NotWritten`), or nobody knows (`NotHeard`).
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Annotated

from httpx2 import (
    AsyncClient,
    AsyncHTTPTransport,
    ConnectError,
    ConnectTimeout,
    HTTPError,
    InvalidURL,
    Limits,
    LocalProtocolError,
    PoolTimeout,
    Timeout,
    UnsupportedProtocol,
)
from pydantic import AfterValidator, SecretStr

from channels import authorities

LONGEST_REST = 86_400.0  # Seconds that a provider may ask us to wait.

_NEVER_WRITTEN = (ConnectError, ConnectTimeout, PoolTimeout, UnsupportedProtocol)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. A message's lease lasts a minute."""

    send: float = 28.0  # For all calls of one `send`.
    call: float = 20.0
    connect: float = 5.0
    begin: float = 8.0  # What must be left of a `send` when a call begins.


def _token(secret: SecretStr) -> SecretStr:
    said = secret.get_secret_value().strip()
    if not re.fullmatch(r"[!-~]+", said):
        raise ValueError("Enter the key as it was shown: it has no spaces and no letters with accents.")
    return SecretStr(said)


def _value(secret: SecretStr) -> SecretStr:
    said = secret.get_secret_value().strip()
    if not re.fullmatch(r"[ -~]+", said):
        raise ValueError("Enter one line without letters with accents, as a header of HTTP can hold it.")
    return SecretStr(said)


Token = Annotated[SecretStr, AfterValidator(_token)]  # A credential that goes into a header.
Value = Annotated[SecretStr, AfterValidator(_value)]  # All that a header says, such as "Bearer …".


class NotWritten(Exception):
    """The call can't have been heard; the text says why."""


class NotHeard(Exception):
    """The call was written, at least in part, and no answer came."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A provider's answer."""

    status: int
    headers: Mapping[str, str]  # Names in lower case.
    body: bytes


class Line:
    """Kept connections to one provider. Safe to use from many tasks of one event loop."""

    def __init__(
        self,
        base: str,
        headers: Mapping[str, str],
        *,
        connections: int = 8,
        patience: Patience | None = None,
    ) -> None:
        """`base` is where it is, such as https://api.sendgrid.com; `headers` go with each call."""
        self._base = base.rstrip("/")
        self._patience = patience or Patience()
        self._turns = asyncio.Semaphore(connections)
        self._client = AsyncClient(
            transport=AsyncHTTPTransport(
                verify=authorities.of_the_web(),
                trust_env=False,
                limits=Limits(max_connections=connections, max_keepalive_connections=connections),
            ),
            headers={**headers, "Accept": "application/json", "Accept-Encoding": "identity"},
            timeout=Timeout(self._patience.call, connect=self._patience.connect),
            follow_redirects=False,
            trust_env=False,
        )

    def until(self) -> float:
        """When a `send` that begins now must end, on the loop's clock."""
        return asyncio.get_running_loop().time() + self._patience.send

    async def call(
        self, method: str, path: str, body: bytes | None = None, *, until: float | None = None
    ) -> Reply:
        """Ask, with JSON as a body. `until` is when, on the loop's clock, the answer must be there. Raises
        `NotWritten` and `NotHeard`."""
        clock, patience = asyncio.get_running_loop().time, self._patience
        until = self.until() if until is None else until
        try:
            async with asyncio.timeout_at(until - patience.begin):
                await self._turns.acquire()
        except TimeoutError:
            raise NotWritten("There was no time left for it.") from None
        try:
            async with asyncio.timeout_at(min(until, clock() + patience.call)):
                kind = {} if body is None else {"Content-Type": "application/json"}
                answer = await self._client.request(method, self._base + path, content=body, headers=kind)
        except LocalProtocolError:  # Its words may hold a header, and so a key.
            raise NotWritten("The call is not HTTP.") from None
        except (*_NEVER_WRITTEN, InvalidURL) as error:
            raise NotWritten(f"It can't be reached: {_said(error)}") from error
        except HTTPError as error:
            raise NotHeard(f"No answer: {_said(error)}") from error
        except TimeoutError:
            raise NotHeard("No answer in time.") from None
        finally:
            self._turns.release()
        return Reply(answer.status_code, answer.headers, answer.content)

    async def close(self) -> None:
        await self._client.aclose()


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def rest(headers: Mapping[str, str], *absolute: str) -> float | None:
    """How many seconds a provider asks us to wait, by Retry-After (RFC 9110 §10.2.3), else by one of the
    `absolute` headers, which hold a Unix time. What is a point in time counts from the answer's own Date,
    so that nobody's clock matters. None when it does not say."""
    now = _time(headers.get("date", ""))
    after = headers.get("retry-after", "").strip()
    if after.isdecimal():
        return _bounded(float(after[:9]))
    moments = [_time(after)]
    for name in absolute:
        moment = headers.get(name, "").strip()
        moments.append(float(moment[:11]) if moment.isdecimal() else None)
    for at in moments:
        if at is not None and now is not None:
            return _bounded(at - now)
    return None


def _time(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_REST)
