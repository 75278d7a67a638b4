"""Looking for people: by a name they go by, an attribute, a tag, a list, or who looks after them.

One condition leads, the one that an index answers best, and the others only filter what it finds. Behind the
wall an index is used by leakproof operators alone, so "begins with" is a range.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from psycopg.errors import QueryCanceled
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.attributes import AttributeType
from domain.errors import Invalid
from domain.profiles import IdentityKind, normal
from domain.values import as_number
from models.queries.profiles_found import BEYOND_ALL, SHOWN

PATIENCE = 3000  # Milliseconds that a search may take.
LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True)
class Search:
    """What is asked for; all of it must hold."""

    names: Mapping[IdentityKind, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    begins: str | None = None  # A name of any kind begins so.
    tag: str | None = None
    list_id: UUID | None = None
    owner_id: UUID | None = None

    def __bool__(self) -> bool:
        return any((self.names, self.attributes, self.begins, self.tag, self.list_id, self.owner_id))


# Their rows are walked in the order of the profiles, by an index that begins with the condition.
_LEADS = {
    "owner": "(select workspace_id, owner_id, id as profile_id from profiles) l "
    "where l.workspace_id = :workspace and l.owner_id = :owner",
    "tag": "profile_tags l where l.workspace_id = :workspace and l.tag = :tag",
    "list": "list_members l where l.workspace_id = :workspace and l.list_id = :list and l.state = 'member'",
}
_PATIENTLY = text("select set_config('statement_timeout', :milliseconds, true)")
_OF = "and l.profile_id = p.id"


async def page(
    db: AsyncSession, workspace_id: UUID, search: Search, after: UUID | None, limit: int
) -> Sequence[tuple[UUID, str]]:
    """Up to `limit` people, the newest first, beyond the profile `after`: the id of each, and their JSON.

    `db` is `Sessions.pinned`. Raises `Invalid` where it would take too long.
    """
    values: dict[str, Any] = {"workspace": workspace_id, "after": after or BEYOND_ALL, "limit": limit}
    leads, filters, slow = await _conditions(db, workspace_id, search, values)
    if leads:
        lead, *others = leads
        filters += [f"exists (select from {each} {_OF})" for each in others]
        ids = f"select distinct l.profile_id as id from {lead} and l.profile_id < :after"
        source = f"({ids}) found join profiles p on p.workspace_id = :workspace and p.id = found.id"
    else:
        source = "profiles p"
    asked = f"""
        with found as materialized (
            select p.id from {source}
            where {" and ".join(["p.workspace_id = :workspace", "p.id < :after", *filters])}
                and p.merged_into is null and p.erased_at is null
            order by p.id desc limit :limit
        )
        select p.id, {SHOWN} from found join profiles p on p.workspace_id = :workspace and p.id = found.id
        order by p.id desc
    """
    await db.execute(_PATIENTLY, {"milliseconds": str(PATIENCE)})
    try:
        return [(row[0], row[1]) for row in await db.execute(text(asked), values)]
    except OperationalError as error:
        if isinstance(error.orig, QueryCanceled):
            raise _too_long(slow) from error
        raise


def _too_long(slow: Sequence[str]) -> Invalid:
    """In words, with the way out: an attribute that is searched by reading everybody can be marked hot."""
    if slow:
        name = slow[0]
        return Invalid(
            f'Nobody keeps "{name}" ready for search, and to read all profiles takes too long: mark it hot '
            'by PATCH /api/v1/attributes/{name} with {"hot": true}, or add a narrower condition.',
            f"?attribute.{name}",
        )
    return Invalid("This finds too many to be answered in time: add a narrower condition.")


_READY = text(
    """
    select name, hot and filled_to is null as ready, type from attributes
    where workspace_id = :workspace and name = any(cast(:names as text[]))
    """
)


async def _conditions(
    db: AsyncSession, workspace_id: UUID, search: Search, values: dict[str, Any]
) -> tuple[list[str], list[str], list[str]]:
    """What can lead, best first; what filters; and the attributes that no index answers."""
    leads, filters, slow = [], [], []
    for kind, value in search.names.items():
        values[kind.value] = normal(kind, value)
        leads.append(
            f"identities l where l.workspace_id = :workspace and l.kind = '{kind}' and l.value = :{kind}"
        )
    asked = {"workspace": workspace_id, "names": list(search.attributes)}
    known = {row.name: row for row in await db.execute(_READY, asked)} if search.attributes else {}
    for nth, (name, value) in enumerate(search.attributes.items()):
        catalogued = known.get(name)
        values[f"name{nth}"], values[f"values{nth}"] = name, _candidates(value)
        is_list = catalogued is not None and catalogued.type == AttributeType.LIST
        if catalogued is not None and catalogued.ready and not is_list:
            leads += _kept(nth, value, values)
        else:
            slow.append(name)
        filters.append(
            f"p.attributes -> cast(:name{nth} as text) {'@>' if is_list else '='} "
            f"any(cast(cast(:values{nth} as text[]) as jsonb[]))"
        )
    if search.begins is not None:
        values["begins"], values["ends"] = search.begins, search.begins + LAST_CHARACTER
        values["lower"], values["lower_ends"] = search.begins.lower(), search.begins.lower() + LAST_CHARACTER
        kinds = ", ".join(f"'{kind}'" for kind in IdentityKind)
        leads.append(
            f"identities l where l.workspace_id = :workspace and l.kind in ({kinds}) and "
            "(l.value >= :begins and l.value < :ends or l.value >= :lower and l.value < :lower_ends)"
        )
    if search.tag is not None:
        values["tag"] = search.tag
        leads.append(_LEADS["tag"])
    if search.list_id is not None:
        values["list"] = search.list_id
        leads.append(_LEADS["list"])
    if search.owner_id is not None:
        values["owner"] = search.owner_id
        leads.append(_LEADS["owner"])
    return leads, filters, slow


def _kept(nth: int, value: str, values: dict[str, Any]) -> list[str]:
    """Where the values of a hot attribute are looked up: as a text or, if it reads like one, as a number.

    What a text is kept of, and a number as double precision, find too many: the filter on the whole decides.
    """
    values[f"text{nth}"] = value[:200]
    kept = f"profile_values l where l.workspace_id = :workspace and l.attribute = :name{nth}"
    number = as_number(value)
    if number is None:
        return [f'{kept} and l."text" = :text{nth}']
    values[f"number{nth}"] = float(number)
    return [f'{kept} and (l."text" = :text{nth} or l."number" = :number{nth})']


def _candidates(value: str) -> list[str]:
    """What the written value may be as JSON: a text, and a number or boolean that is written so."""
    found = [orjson.dumps(value).decode()]
    if value in ("true", "false"):
        found.append(value)
    number = as_number(value)
    if number is not None:
        found.append(format(number, "f"))
    return found
