"""Accounts with providers, opened from their rows and kept open while they stay as they are."""

import asyncio
from typing import Any
from uuid import UUID

import structlog
from pydantic import BaseModel, ValidationError

from channels import credentials, discretion, registry
from channels.contract import Account, Kind, Provider, World
from domain.secrets import CannotOpen, Sealer
from models.queries.providers import AccountRow

log = structlog.get_logger()

CLOSED_AFTER = 60.0  # Seconds in which a batch that is under way by an account of before comes to its end.


class CannotUse(Exception):
    """An account can't be opened; the text says why, without any secret."""


def read(row: AccountRow, sealer: Sealer) -> tuple[Kind, BaseModel]:
    """The kind and the settings of an account, with its credentials in clear. Raises `CannotUse`."""
    kind = registry.kinds().get(row.kind)
    if kind is None:
        raise CannotUse(f"This version knows no provider of the kind {row.kind}.")
    try:
        secrets = credentials.unseal(sealer, row.credentials, row.id)
        whole = credentials.together(kind.settings, row.settings, secrets)
        return kind, kind.settings.model_validate(whole)
    except CannotOpen as error:
        raise CannotUse(str(error)) from None
    except ValidationError as error:
        at = ", ".join(str(part) for each in error.errors() for part in each["loc"][:1])
        raise CannotUse(f"The settings of this account don't fit its kind any more: {at}.") from None


class Accounts:
    """Keeps them for one process."""

    def __init__(self, sealer: Sealer, world: World) -> None:
        self._sealer, self._world = sealer, world
        self._open: dict[UUID, tuple[str, Provider[Any]]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def of(self, workspace_id: UUID, row: AccountRow) -> Provider[Any]:
        """The account, open. Raises `CannotUse`."""
        version, provider = self._open.get(row.id, ("", None))
        if provider is None or version != row.version:
            kind, settings = read(row, self._sealer)
            if provider is not None:
                self._close_later(provider)
            account = Account(workspace_id, row.id, settings)
            provider = discretion.open_account(kind, account, self._world)
            self._open[row.id] = row.version, provider
        return provider

    def _close_later(self, provider: Provider[Any]) -> None:
        async def closing() -> None:
            await asyncio.sleep(CLOSED_AFTER)
            await provider.close()

        task = asyncio.create_task(closing())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        for task in self._closing:
            task.cancel()
        for _, provider in self._open.values():
            await provider.close()
        self._open.clear()
