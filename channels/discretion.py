"""An open account that keeps its credentials to itself, whatever its provider repeats of them.

Providers do quote what they were given ("Malformed access token …", a command of SMTP), and what an outcome
or a check says is kept in the ledger, and shown. So every account is opened here.
"""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

from channels.contract import Account, Capabilities, Envelope, Kind, Outcome, Provider, World
from channels.credentials import parted

STRUCK = "[secret]"
SHORTEST = 6  # Characters of a secret. What is shorter is a part of many words, and hardly one.
A_LINE = 16  # Of a secret of several lines, what is shorter says nothing.
A_BEGINNING = 8  # What a text that was cut may end with.


class Secrets:
    """What must not be said."""

    def __init__(self, secrets: Iterable[str], user: str | None = None) -> None:
        """`user` is who logs in with them, where they go together over the wire."""
        given = {part for secret in secrets for part in _parts(secret)}
        forms = {form for part in given for form in _forms(part, user)}
        self._forms = sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)

    def struck_from(self, text: str) -> str:
        """The text without them, and without the beginning of one at its end, where it was cut."""
        for form in self._forms:
            text = text.replace(form, STRUCK)
        for form in self._forms:
            for length in range(len(form) - 1, A_BEGINNING - 1, -1):
                if text.endswith(form[:length]):
                    return text[:-length] + STRUCK
        return text


def _parts(secret: str) -> Iterable[str]:
    yield secret
    yield secret.strip()
    yield from (line for line in secret.splitlines() if len(line) >= A_LINE)


def _forms(secret: str, user: str | None) -> Iterable[str]:
    """As it is, as a URL has it, and as those who log in send it (RFC 4616, RFC 7617)."""
    yield from (secret, quote(secret, safe=""), quote(secret), quote_plus(secret))
    together = () if user is None else (f"\0{user}\0{secret}", f"{user}:{secret}")
    for said in (secret, *together):
        yield b64encode(said.encode("utf-8", "replace")).decode()


class Discreet:
    """A provider whose every word is looked through. All else is the provider's own."""

    def __init__(self, provider: Provider[Any], secrets: Secrets) -> None:
        self._provider, self._secrets = provider, secrets

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    @property
    def name(self) -> str:
        return self._provider.name

    @property
    def capabilities(self) -> Capabilities:
        return self._provider.capabilities

    async def send(self, letter: Any, batch: Sequence[Envelope]) -> list[Outcome]:
        return list(map(self._looked_through, await self._provider.send(letter, batch)))

    def _looked_through(self, outcome: Outcome) -> Outcome:
        if outcome.reason is None:
            return outcome
        said = self._secrets.struck_from(outcome.reason)
        return outcome if said == outcome.reason else replace(outcome, reason=said)

    async def check(self) -> str | None:
        said = await self._provider.check()
        return said and self._secrets.struck_from(said)

    async def close(self) -> None:
        await self._provider.close()


def open_account(kind: Kind, account: Account, world: World) -> Provider[Any]:
    """Open it. Raises what the kind raises."""
    clear, secrets = parted(account.settings)
    user = clear.get("user") or clear.get("account_sid")
    return Discreet(kind.open(account, world), Secrets(secrets.values(), user))
