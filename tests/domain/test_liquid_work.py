"""No template takes for ever: what is too much is refused, and what is not reads as Liquid renders it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from liquid import Environment
from liquid.exceptions import LiquidError

from domain import templates
from domain.errors import Invalid
from domain.holes import TemplateError
from domain.liquid_work import MOST, TooMuchWork, Work, extent
from tests.domain.mails import by_liquid, compiled

LETTERS = "".join(map(chr, range(0x4E00, 0x4E00 + 5000)))
VALUES: dict[str, Any] = {
    "huge": "x" * 100_000,
    "same": "".join(["x"] * 100_000),
    "billion": 10**9,
    "tags": "<b>x</b> & " * 1000,
    "open": "><![CDATA[" * 20_000,
    "dots": "1." * 50_000,
    "things": [{"name": f"thing {n}", "n": n, "deep": {"n": n}} for n in range(500)],
}


@contextmanager
def soon() -> Iterator[None]:
    """Ends what would go on for minutes."""

    def too_late(*_: object) -> None:
        raise AssertionError("It is still rendering")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(20)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def many(work: str) -> str:
    return "{% for i in (1..10000) %}" + work + "{% endfor %}"


WHENS = "{% case 1 %}{% when " + ",".join("1" * 30) + " %}"


@pytest.mark.parametrize(
    "source",
    [
        "{% assign s = '" + LETTERS + "' | split: '' | sort %}" + many("{% assign t = s | uniq | size %}"),
        many("{% if (1..9999) contains 'a' %}{% endif %}"),
        many("{% if " + " or ".join(["1 == 2"] * 200) + " %}{% endif %}"),
        many("{% if huge == same %}{% endif %}"),
        many("{% if huge contains 'y' %}{% endif %}"),
        many("{% capture x %}{% cycle tags, tags %}{% endcapture %}"),
        many("{% assign x = tags | strip_html %}"),
        many("{% assign x = things | uniq %}"),
        many("{% assign x = things | sort: 'name' %}"),
        many("{% assign x = things | map: things %}"),
        many("{% assign x = things | where: 'name', huge %}"),
        many("{% capture x %}" + "x" * 50_000 + "{% endcapture %}"),
        many("") * 1000,
        "{% cycle " + ", ".join(["huge"] * 2000) + " %}",
        # A `when` is rendered as often as it holds: thirty times thirty times thirty ...
        WHENS * 12 + "{% endcase %}" * 12,
        "{% assign x = open | strip_html %}",
        "{% assign x = dots | date: '%Y' %}",
        "{% assign l = huge | split: '~' %}" + "{% assign l = l | concat: l %}" * 14 + "{{ l }}",
    ],
)
def test_more_work_than_one_message_may_take_is_that_messages_error(source: str) -> None:
    made = compiled(html=f"<p>{source}</p>")

    with soon(), pytest.raises(TemplateError, match=r"takes more work than one message may; .* shorter"):
        templates.render(made, VALUES)


@pytest.mark.parametrize(
    "source",
    [
        "{% if (1..1000000000) contains 'a' %}{% endif %}",
        "{% if (1..billion) == 'a' %}{% endif %}",
        "{% assign all = (1..billion) %}",
        "{% assign all = (1..1000000000) | reverse %}",
        "{{ billion | plus: 1 | default: (1..billion) | size }}",
        "{% for i in (1..billion) offset: 999999999 %}{% endfor %}",
        "{% for i in (1..billion) reversed limit: 1 %}{% endfor %}",
        "{% tablerow i in (1..billion) limit: 1 %}{% endtablerow %}",
    ],
)
def test_a_range_has_an_end_to_its_length_wherever_it_stands(source: str) -> None:
    made = compiled(html=f"<p>{source}</p>")

    with soon(), pytest.raises(TemplateError, match="more than 10,000 numbers is too long"):
        templates.render(made, VALUES)


@pytest.mark.parametrize(
    "source",
    [
        "{{ '" + LETTERS + "' | split: '' | sort " + "| uniq | sort " * 60 + "| size }}",
        "{{ (1..500000000) | sum }}",
        "{{ (1..99999999999999999999999) | size }}",
        "{{ '1e999' | floor }}",
    ],
)
def test_what_is_the_same_for_all_and_can_not_be_rendered_is_a_fault_in_the_template(source: str) -> None:
    with soon(), pytest.raises(Invalid, match="can't be rendered") as refusal:
        compiled(html=f"<p>{source}</p>")

    assert refusal.value.field == "/html"
    assert len(refusal.value.message) < 400


def test_a_filters_arguments_may_be_named_and_are_counted_all_the_same() -> None:
    made = compiled(html="<p>{{ huge | replace: seq: '', sub: huge }}</p>")

    with soon(), pytest.raises(TemplateError, match="replace would make more than"):
        templates.render(made, VALUES)


def test_the_parts_of_a_message_share_what_it_may_take() -> None:
    loop = many("{% if i == 3 %}{% endif %}")
    templates.render(compiled(html=f"<p>{loop}</p>", text="x"), {})

    with pytest.raises(TemplateError, match="more work"):
        templates.render(compiled(html=f"<p>{loop}</p>", text=loop + loop), {})


def test_what_one_message_took_the_next_has_again() -> None:
    made = compiled(html=f"<p>{many('{% if i == 3 %}{% endif %}')}</p>", text="x")

    assert [templates.render(made, {}) for _ in range(3)] == [("",)] * 3


def test_work_is_spent_once() -> None:
    work = Work(10)
    work.spend(10)

    for _ in range(2):
        with pytest.raises(TooMuchWork):
            work.spend(1)


def test_a_value_counts_with_all_that_is_in_it_and_no_further_than_is_left() -> None:
    inner = ["x" * 1600] * 100

    assert extent("x" * 1600, MOST) == 101
    assert extent(inner, MOST) > 100 * 100
    assert extent([inner] * 100, MOST) > MOST
    assert extent({"a": {"b": inner}}, MOST) > extent(inner, MOST)
    assert extent([[[0] * 1000] * 1000] * 1000, 5000) < 10_000


items = some.one_of(
    some.none(), some.booleans(), some.integers(-2, 2), some.sampled_from(["a", "b", "", 1.0, 0.5])
)
lists = some.lists(
    some.one_of(items, some.lists(items, max_size=2), some.dictionaries(some.just("k"), items)), max_size=6
)


@given(lists, some.sampled_from(["uniq", "uniq: 'k'", "compact", "reverse"]))
def test_a_list_without_what_is_twice_is_as_liquid_makes_it(values: list[Any], filter_: str) -> None:
    source = "{% assign made = values | " + filter_ + " %}{{ made | join: '|' }}"
    try:
        expected: str | None = Environment().from_string(source).render(values=values)
    except LiquidError:
        expected = None

    assert by_liquid(source, {"values": values}, markup=False) == expected


def test_a_long_ordinary_mail_has_room() -> None:
    cell = "<td>{{ thing.name | escape | upcase }}{% if thing.n > 3 %}{{ thing.n }}{% endif %}</td>"
    source = "<table>{% for thing in things %}<tr>" + cell * 3 + "</tr>{% endfor %}</table>"
    made = compiled(html=source, text="x")

    assert "THING 99<" in templates.render(made, {"things": VALUES["things"][:200]})[0].replace("</td>", "<")
