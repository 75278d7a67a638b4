"""Every secret at rest, for whoever changes the key. As the engine, across workspaces."""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.secrets import Sealer
from models.base import changed


class Kind(NamedTuple):
    """Where secrets of a kind are, and what each is sealed for: this word, a colon, and the row's id."""

    table: str
    column: str
    word: str


SEALED = (
    Kind("users", "totp_secret", "totp"),
    Kind("issuers", "client_secret", "issuer"),
    Kind("providers", "credentials", "provider"),
    Kind("domains", "dkim_key", "domain"),
    Kind("webhooks", "secret", "webhook"),
    Kind("webhooks", "old_secret", "webhook"),
    Kind("integrations", "credentials", "integration"),
)
_PAGE = 500


async def reseal(db: AsyncSession, sealer: Sealer) -> int:
    """Seal up to 500 secrets of each kind, which an older key sealed, under the present one. Call until 0.

    Raises `CannotOpen` when the key of one is missing; then nothing was changed.
    """
    return sum([await _reseal(db, kind, sealer) for kind in SEALED])


async def _reseal(db: AsyncSession, kind: Kind, sealer: Sealer) -> int:
    old = await db.execute(
        text(
            f"select id, {kind.column} from {kind.table} where {kind.column} not like :present "
            f"order by id limit {_PAGE} for update"
        ),
        {"present": sealer.prefix.replace("_", r"\_") + "%"},
    )
    found = [(row[0], row[1]) for row in old]
    if not found:
        return 0
    renewed = []
    for id_, sealed in found:
        belongs_to = f"{kind.word}:{id_}"
        renewed.append(sealer.seal(sealer.open(sealed, belongs_to), belongs_to))
    return await changed(
        db,
        text(
            f"update {kind.table} t set {kind.column} = v.sealed "
            "from unnest(cast(:ids as uuid[]), cast(:sealed as text[])) v(id, sealed) where t.id = v.id"
        ),
        {"ids": [id_ for id_, _ in found], "sealed": renewed},
    )
