"""The catalogue of attributes: types that are discovered, conflicts that are counted, values that are hot."""

import json
from math import inf
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.attributes import MOST_NAMES, AttributeType
from domain.errors import NotFound
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import attributes
from tests.people import NOON, a_person, rows


async def noted(db: AsyncSession, *traits: tuple[str, Any]) -> None:
    given = {"names": [name for name, _ in traits], "values": [json.dumps(value) for _, value in traits]}
    await attributes.note(db, DEFAULT_WORKSPACE, attributes.GIVEN, NOON, given)


async def catalogue(db: AsyncSession) -> dict[str, tuple[str, int, int]]:
    found = await rows(db, "select name, type, values, conflicts from attributes")
    return {name: tuple(rest) for name, *rest in found}


async def values(db: AsyncSession) -> list[Any]:
    return await rows(
        db, """select attribute, "text", "number", "time"::text from profile_values order by 1, 2, 3"""
    )


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        ("Ada", "string"),
        ("", "string"),
        (3, "number"),
        (-2.5, "number"),
        (True, "boolean"),
        ("2026-03-01", "date"),
        ("2026-03-01T10:00:00Z", "date"),
        ("2026-03-01T10:00:00.123+02:00", "date"),
        ("2026-03-01 10:00", "date"),
        ("2026-02-30", "string"),
        ("2026-13-01T00:00:00Z", "string"),
        ("2026-03-01T25:00:00Z", "string"),
        ("2026-03-01 and more", "string"),
        (["a", 1], "list"),
        ({"a": 1}, "object"),
    ],
)
async def test_the_type_of_an_attribute_is_discovered(db: AsyncSession, value: Any, type_: str) -> None:
    await noted(db, ("it", value))

    assert await catalogue(db) == {"it": (type_, 1, 0)}


async def test_null_says_nothing_about_a_type(db: AsyncSession) -> None:
    await noted(db, ("it", None))

    assert await catalogue(db) == {}


async def test_what_does_not_fit_the_type_is_counted(db: AsyncSession) -> None:
    await noted(db, ("plan", "pro"), ("plan", "pro"), ("plan", 3))
    await noted(db, ("plan", True), ("plan", "2026-03-01"), ("age", 30))

    assert await catalogue(db) == {"plan": ("string", 5, 2), "age": ("number", 1, 0)}


async def test_a_text_among_dates_does_not_fit(db: AsyncSession) -> None:
    await noted(db, ("born", "1990-01-01"))
    await noted(db, ("born", "long ago"))

    assert await catalogue(db) == {"born": ("date", 2, 1)}


async def test_a_type_that_somebody_set_decides_from_then_on(db: AsyncSession) -> None:
    await noted(db, ("zip", 8000), ("zip", "8000 A"))
    await attributes.change(db, DEFAULT_WORKSPACE, "zip", type_=AttributeType.STRING)
    await noted(db, ("zip", "8001"), ("zip", 8002))

    assert await catalogue(db) == {"zip": ("string", 4, 1)}


async def test_names_beyond_the_most_and_too_long_ones_are_left_out(db: AsyncSession) -> None:
    await db.execute(
        text(
            "insert into attributes (workspace_id, name, type, first_seen_at, last_seen_at) "
            "select :here, 'n' || n, 'string', :now, :now from generate_series(1, :most) n"
        ),
        {"here": DEFAULT_WORKSPACE, "now": NOON, "most": MOST_NAMES},
    )

    await noted(db, ("new", 1), ("n1", "x"), ("l" * 201, 1))

    assert await rows(db, "select name from attributes where values > 0") == ["n1"]


async def test_hot_values_follow_the_attributes(db: AsyncSession) -> None:
    ada = await a_person(
        db, plan="pro", age=30, vip=True, born="1990-02-03", seen="2026-03-01T10:00:00+02:00", cold="x"
    )
    names = ("plan", "age", "vip", "born", "seen", "gone")
    await noted(db, *((name, "x") for name in (*names, "cold")))
    for name in names:
        await attributes.change(db, DEFAULT_WORKSPACE, name, hot=True)

    await attributes.keep_values(db, DEFAULT_WORKSPACE, [ada])

    assert await values(db) == [
        ("age", None, 30.0, None),
        ("born", "1990-02-03", None, "1990-02-03 00:00:00+00"),
        ("plan", "pro", None, None),
        ("seen", "2026-03-01T10:00:00+02:00", None, "2026-03-01 08:00:00+00"),
        ("vip", "true", None, None),
    ]
    await db.execute(text("""update profiles set attributes = '{"plan": "free", "age": ["x"]}'"""))
    await attributes.keep_values(db, DEFAULT_WORKSPACE, [ada])
    assert await values(db) == [("plan", "free", None, None)]


async def test_a_number_that_no_column_can_hold_is_kept_as_one_beside_it(
    db: AsyncSession,
) -> None:
    ada = await a_person(db, long="é" * 300)
    await noted(db, ("long", "x"), ("huge", 1), ("tiny", -1), ("exact", 1), ("day", "x"))
    for name in ("long", "huge", "tiny", "exact", "day"):
        await attributes.change(db, DEFAULT_WORKSPACE, name, hot=True)
    await db.execute(
        text(
            """update profiles set attributes = attributes
                || '{"huge": 1e400, "tiny": -1e-400, "exact": 9007199254740993}'"""
        )
    )

    await attributes.keep_values(db, DEFAULT_WORKSPACE, [ada])

    assert await rows(db, 'select attribute, length("text"), "number" from profile_values order by 1') == [
        ("exact", None, 9007199254740992.0),
        ("huge", None, inf),
        ("long", 200, None),
        ("tiny", None, -5e-324),
    ]


async def test_of_who_was_merged_nothing_is_kept(db: AsyncSession) -> None:
    ada, alias = await a_person(db, plan="pro"), await a_person(db, plan="free")
    await noted(db, ("plan", "x"))
    await attributes.change(db, DEFAULT_WORKSPACE, "plan", hot=True)
    await attributes.keep_values(db, DEFAULT_WORKSPACE, [ada, alias])
    await db.execute(
        text("update profiles set merged_into = :ada where id = :alias"), {"ada": ada, "alias": alias}
    )

    await attributes.keep_values(db, DEFAULT_WORKSPACE, [ada, alias])

    assert await values(db) == [("plan", "pro", None, None)]


async def test_what_was_there_before_is_filled_in_page_by_page_and_taken_out_again(db: AsyncSession) -> None:
    for n in range(5):
        await a_person(db, plan=f"p{n}")
    await noted(db, ("plan", "x"))
    await attributes.change(db, DEFAULT_WORKSPACE, "plan", hot=True)
    assert not (await attributes.get(db, "plan")).ready

    pages = await walked(db)

    assert pages == 3
    assert [text_ for _, text_, _, _ in await values(db)] == ["p0", "p1", "p2", "p3", "p4"]
    db.expire_all()
    assert (await attributes.get(db, "plan")).ready
    await attributes.change(db, DEFAULT_WORKSPACE, "plan", hot=False)
    await walked(db)
    assert await values(db) == []


async def test_what_was_kept_before_does_not_outlive_the_attribute_when_it_gets_hot_again(
    db: AsyncSession,
) -> None:
    """Nobody keeps the values of an attribute that is not hot, and some are left until `fill` has passed."""
    gone, other = await a_person(db, plan="pro"), await a_person(db, plan="free")
    await noted(db, ("plan", "pro"))
    await attributes.change(db, DEFAULT_WORKSPACE, "plan", hot=True)
    await walked(db)
    await attributes.change(db, DEFAULT_WORKSPACE, "plan", hot=False)
    await db.execute(text("update profiles set attributes = '{}' where id = :id"), {"id": gone})
    await attributes.keep_values(db, DEFAULT_WORKSPACE, [gone])
    await db.execute(text("update profiles set attributes = '{\"plan\": [1]}' where id = :id"), {"id": other})
    await attributes.change(db, DEFAULT_WORKSPACE, "plan", hot=True)

    await walked(db)

    assert await values(db) == []


async def walked(db: AsyncSession) -> int:
    pages = 1
    while await attributes.fill(db, DEFAULT_WORKSPACE, "plan", limit=2):
        pages += 1
    return pages


async def test_the_bare_driver_does_the_same(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db, plan="pro")
    async with sessions.batch(DEFAULT_WORKSPACE) as batch:
        given = {"names": ["plan"], "values": ['"pro"']}
        await attributes.note(batch, DEFAULT_WORKSPACE, attributes.GIVEN, NOON, given)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await attributes.change(db, DEFAULT_WORKSPACE, "plan", hot=True)
    async with sessions.batch(DEFAULT_WORKSPACE) as batch:
        await attributes.keep_values(batch, DEFAULT_WORKSPACE, [ada])
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await values(db) == [("plan", "pro", None, None)]
        assert await catalogue(db) == {"plan": ("string", 1, 0)}


async def test_what_nobody_has_can_t_be_changed(db: AsyncSession) -> None:
    with pytest.raises(NotFound):
        await attributes.change(db, DEFAULT_WORKSPACE, "nothing", hot=True)
