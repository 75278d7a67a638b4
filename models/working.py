"""Temporary tables in which the pump's batches wait. They live with its connection; commits empty them."""

from collections.abc import Iterable

_TAKEN = """
    n bigint, id uuid, received_at timestamptz, kind text, trusted boolean, historical boolean,
    message_id text, occurred_at timestamptz, name text, email text, phone text, user_id text,
    anonymous_id text, properties jsonb, context jsonb, consents jsonb, workspace_id uuid,
    profile_id uuid, by_user uuid, by_email uuid, by_phone uuid, by_anonymous uuid
"""

TABLES = {
    # The batch, `n` counting it in the order of the inbox, with whose it is, and who has which of its names.
    "taken": _TAKEN,
    # Live arrivals that wait while the historical ones of their batch take effect.
    "parked": _TAKEN,
    # What flows may listen to.
    "happened": """
        n bigint, event_id uuid, profile_id uuid, name text, properties jsonb, occurred_at timestamptz,
        hops int
    """,
    # By which of it somebody entered a flow.
    "newcomers": "enrollment_id uuid primary key, n bigint",
    # Of whom something is known that was not known before, whether something live said so, how many things
    # caused one another before it, and the last of them where it is known.
    "changed": "profile_id uuid primary key, live boolean, hops int not null default 0, cause uuid",
    # Whom a look at everybody found on the wrong side of a segment's border.
    "doubted": "segment_id uuid, profile_id uuid, live boolean, primary key (segment_id, profile_id)",
    # What identifies said of each attribute at last; `fills` says that it counts only where it is missing.
    "told": "profile_id uuid, name text, value jsonb, fills boolean, at timestamptz",
    # What they said of consent, as far as that is news.
    "allowed": "profile_id uuid, purpose text, state text, source text, at timestamptz",
    # How people were before what identifies said took effect, where somebody wants to hear what changed.
    "were": "profile_id uuid, attributes jsonb",
    # Who came into a segment, or left it.
    "crossed": "segment_id uuid, profile_id uuid, entered boolean",
}


def create(names: Iterable[str] = TABLES) -> list[str]:
    """The statements that make them on a connection, unless they are there."""
    return [
        f"create temporary table if not exists {name} ({TABLES[name]}) on commit delete rows"
        for name in names
    ]
