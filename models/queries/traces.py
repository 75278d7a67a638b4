"""What tables that are about something else hold of somebody's names: they are erased with the person.

These tables are no index's, and are kept for days: they are read from end to end.
"""

import json
import re
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.events import EventKind
from domain.profiles import ADDRESS_KIND, IdentityKind
from models.queries.profiles import HERE

# Each with the patterns (POSIX, of PostgreSQL) that find it within JSON and within a key.
_NAMED = """
    unnest(cast(:kinds as text[]), cast(:values as text[]), cast(:quoted as text[]), cast(:keys as text[]))
        named (kind, value, quoted, key)
"""
_ADDRESSES = frozenset(ADDRESS_KIND.values())
_SPECIAL = re.compile(r"[!-/:-@\[-^`{-~]")  # ASCII's marks, other than the underscore.
_A_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
# What follows the name in the key of an order that has none of its own: see `domain.orders.Keys`.
_REST_OF_KEY = r":[-0-9T.+Z]*:[0-9]+:[-0-9.]+:[A-Z]{3}#[0-9]+$"


def _literally(value: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", value)


def _quoted(kind: IdentityKind, value: str) -> str:
    """Finds an address wherever it stands, a phone number however it is grouped, and an id as a JSON value.

    An id may be the last thing in a JSON that was cut off, and a number where a shop counts its customers.
    """
    match kind:
        case IdentityKind.EMAIL:
            return _literally(value)
        case IdentityKind.PHONE:
            return "[ ()./-]*".join(re.findall("[0-9]", value)) or _literally(value)
    found = rf'"\s*{_literally(json.dumps(value, ensure_ascii=False)[1:-1])}\s*("|$)'
    if _A_NUMBER.fullmatch(value):
        found += rf'|id"\s*:\s*{_literally(value)}(\.0*)?(?![0-9.])'
    return found


def _key(kind: IdentityKind, value: str) -> str:
    """Finds an address by itself in a key of any form, and an id at the beginning of one that we made."""
    found = _literally(value)
    if kind in _ADDRESSES:
        return rf"(?i)(?<![[:alnum:]._%+-]){found}(?![[:alnum:]-]|[.][[:alnum:]])"
    return f"^{found}{_REST_OF_KEY}"


def _quotes(column: str) -> str:
    """Whether a text holds an address in whatever case, or an id of theirs as a JSON value by itself."""
    return f"exists (select from {_NAMED} where {column} ~* named.quoted)"


def _is_of(column: str) -> str:
    """Whether a name or a key that somebody else chose is theirs, or holds an address of theirs."""
    return f"exists (select from {_NAMED} where {column} = named.value or {column} ~ named.key)"


def _names(row: str) -> str:
    """Whether something that came in is about them, as its JSON says. Changes of orders have a key alone."""
    return f"""
        exists (select from {_NAMED} where {row} ->> named.kind = named.value
            or {row} #>> '{{properties,previous_id}}' = named.value
            or {row} ->> 'kind' = '{EventKind.ORDER_CHANGE}' and {row} #>> '{{properties,key}}' ~ named.key)
    """


_FORGET = [
    text(statement)
    for statement in (
        f"delete from quarantine q where q.workspace_id = {HERE} and {_names('q.arrival')}",
        f"""
        delete from refusals r
        where r.workspace_id = {HERE} and ({_quotes("r.body")} or {_quotes("r.reason")}
            or {_is_of("r.name")} or {_is_of("r.message_id")})
        """,
        f"""
        update rejected_rows r set reason = 'What it said was erased.'
        where r.workspace_id = {HERE} and {_quotes("r.reason")}
        """,
        # Ours name nobody: see `domain.failures.discreet`.
        f"""
        update failure_logs f set title = null, reason = 'What it said was erased.',
            remedy = 'What it said was erased.', detail = '{{}}', subject_id = 'erased ' || f.id
        where f.workspace_id = {HERE} and f.origin = 'api' and ({_quotes("f.reason")}
            or {_quotes("f.title")} or {_quotes("f.remedy")} or {_quotes("f.detail::text")}
            or {_is_of("f.subject_id")})
        """,
        # Whoever asks again is told that it was done, and not what was answered.
        f"""
        update idempotency_keys k set body = null, headers = '[]'
        where k.workspace_id = {HERE} and {_quotes("convert_from(k.body, 'UTF8')")}
        """,
    )
]
# There are many of these: one pattern for all addresses is looked for in each once.
_FORGET_SEEN = text(
    f"delete from seen s where s.workspace_id = {HERE} and s.message_id ~* cast(:addresses as text)"
)
_MAY_READ_THE_INBOX = text("select has_table_privilege('inbox', 'delete')")
_FORGET_ARRIVALS = text(
    f"""
    delete from inbox i
    where i.workspace_id = {HERE} and {_names("to_jsonb(i)")}
    """
)


async def forget(db: AsyncSession, names: Sequence[tuple[IdentityKind, str]]) -> None:
    """Forget who goes by these names, wherever they are quoted; as the engine, in the inbox as well."""
    if not names:
        return
    values = {
        "kinds": [kind.value for kind, _ in names],
        "values": [value for _, value in names],
        "quoted": [_quoted(*name) for name in names],
        "keys": [_key(*name) for name in names],
    }
    for statement in _FORGET:
        await db.execute(statement, values)
    addresses = [_literally(value) for kind, value in names if kind in _ADDRESSES]
    if addresses:
        await db.execute(_FORGET_SEEN, {"addresses": "|".join(addresses)})
    if await db.scalar(_MAY_READ_THE_INBOX):
        await db.execute(_FORGET_ARRIVALS, values)
