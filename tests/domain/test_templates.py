from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from domain import templates
from domain.errors import Invalid
from domain.holes import Taken, TemplateError
from domain.skeletons import as_is, escaped, filled, skeleton
from domain.templates import Template
from tests.domain.mails import NEWSLETTER, TOKEN, by_liquid, compiled, shown

# --- holes: the same answer as Liquid's own

words = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
json = some.recursive(  # As PostgreSQL keeps it: without NUL.
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | words,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from("abc"), inner),
    max_leaves=6,
)
PLAIN = [
    "{{ a }}",
    "{{ a | default: 'there' }}",
    '{{ a.b | default: "a < b & c" }}',
    "{{ a.b }}",
    "{{ a.b.c | default: 3 }}",
    "{{ a.size }}",
    "{{ a['b'] | default: '' }}",
    "{{ now | default: 'x' | size }}",
]


def by_holes(source: str, variables: dict[str, Any], *, markup: bool) -> str | None:
    taken = Taken({})
    said = taken.apart(source, "/html", markup=markup)
    pieces = skeleton(said, lambda hole, _: as_is if taken.holes[hole].markup or not markup else escaped)
    try:
        return filled(pieces, taken.render(variables), TOKEN)
    except TemplateError:
        return None


@given(some.sampled_from(PLAIN), some.dictionaries(some.sampled_from("ab"), json), some.booleans())
@example("{{ a }}", {"a": "one\r\ntwo\rthree"}, True)
def test_a_variable_that_is_looked_up_reads_as_liquid_renders_it(
    source: str, variables: dict[str, Any], markup: bool
) -> None:
    expected = by_liquid(source, variables, markup=markup)

    assert by_holes(source, variables, markup=markup) == expected


KEEPING = [
    "{% assign name = a | upcase %}Dear {{ name }}, {% if a %}{{ name }}{% endif %}",
    "{% capture whole %}<b>{{ a }}</b>{% endcapture %}{{ whole }} and {{ a }}",
    "{% increment a %}{% increment a %} {{ a | default: 'x' }} {% decrement n %}",
    "{% for x in (1..3) %}{% cycle 'odd', 'even' %}{% endfor %}{% cycle 'odd', 'even' %}{{ a }}",
    "{% for x in (1..6) limit: 2 %}{{x}}{% endfor %} {% for x in (1..6) offset: continue %}{{x}}{% endfor %}",
    "{% liquid assign b = 'deep'\n echo a\n %}{{ b }}",
    "a \n{%- if a -%} \n x \n{%- else -%} none {%- endif -%}\n b {{- a -}} c {% raw %}{{ raw }}{% endraw %}",
    "{% assign a = 'other' %}{{ a }}{{ a.size }}{{ 'a' | append: '<' | append: a }}",
    "{% unless a %}no{% endunless %}{% case a %}{% when '<i>' %}i{% else %}e{% endcase %}{{ a | escape }}",
]


@pytest.mark.parametrize("markup", [True, False])
@pytest.mark.parametrize("source", KEEPING)
def test_what_a_template_keeps_across_the_document_reads_as_liquid_renders_it(
    source: str, markup: bool
) -> None:
    variables = {"a": "<i>"}

    assert by_holes(source, variables, markup=markup) == by_liquid(source, variables, markup=markup)
    assert by_liquid(source, variables, markup=markup) is not None


def test_a_variable_is_one_hole_wherever_it_stands() -> None:
    made = compiled("Hi {{ name }}", "<p title='{{ name }}'>{{ name }}, {{ workspace.name }}</p>")

    assert [hole.source for hole in made.holes] == ["{{ name }}"]
    assert templates.render(made, {"name": "O'Hara"}) == ("O'Hara",)
    subject, page, text = shown(made, {"name": "O'Hara"})
    assert subject == "Hi O'Hara"
    assert "<p title='O&#39;Hara'>O&#39;Hara, Shop &amp; Sons</p>" in page
    assert text.startswith("O'Hara, Shop & Sons\n")


# --- what is missing hurts one message, and says so


@pytest.mark.parametrize("given", [{}, {"first_name": None}])
def test_a_missing_variable_names_itself_and_the_way_out(given: dict[str, Any]) -> None:
    made = compiled(html="<p>Dear {{ first_name }}</p>")

    with pytest.raises(TemplateError) as refusal:
        templates.render(made, given)

    assert refusal.value.message == (
        "The template uses {{ first_name }}, which this profile lacks; "
        "give it a default: {{ first_name | default: 'there' }}."
    )


def test_a_missing_variable_within_a_block_names_its_path() -> None:
    made = compiled(html="{% for item in cart %}{{ item.price.net }}{% endfor %}")

    with pytest.raises(TemplateError, match=r"uses \{\{ item\.price\.net \}\}, which"):
        templates.render(made, {"cart": [{"price": {}}]})


def test_a_missing_variable_is_false_in_a_condition() -> None:
    made = compiled(html="<p>{% if name and name != blank %}{{ name }}{% else %}nobody{% endif %}</p>")

    assert "<p>nobody</p>" in shown(made, {})[1]


@pytest.mark.parametrize(
    "source",
    [
        "{% break %}",
        "{{ n | divided_by: 0 }}",
        "{% for x in (1..99999) %}{% endfor %}",
        "{{ n | date: 5 }}",
        "{% for x in (1..9000) %}{{ long }}{% endfor %}",
        "{{ nul | url_decode }}",
        "{% capture kept %}{{ 'AAAA' | base64_decode }}{% endcapture %}{{ kept | date: kept }}{{ kept }}",
        # What would take gigabytes, or for ever, within one filter.
        "{{ huge | replace: 'x', huge }}",
        "{{ huge | split: '' | join: huge }}",
        "{{ huge | append: huge | append: huge }}",
        "{% assign n = 9 %}{% for i in (1..40) %}{% assign n = n | times: n %}{% endfor %}{{ n }}",
    ],
)
def test_whatever_goes_wrong_while_rendering_is_that_messages_error(source: str) -> None:
    made = compiled(html=f"<p>{source}</p>")

    with pytest.raises(TemplateError) as error:
        templates.render(made, {"n": 1, "long": "x" * 100, "huge": "x" * 100_000, "nul": "%00"})
    assert "\0" not in error.value.message


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("<p>\n\n{{ name | nope }}", 3, "no filter nope"),
        ("<p>\n{% if name %}", 2, "endif"),
        ("<p>\n{{ name ", 2, "'}}'"),
        ("{% include 'other' %}", 1, "include"),
    ],
)
def test_a_fault_in_a_template_is_refused_with_its_part_and_line(source: str, line: int, says: str) -> None:
    with pytest.raises(Invalid, match=rf"^Line {line} of the template: .*{says}") as refusal:
        compiled(html=source)

    assert refusal.value.field == "/html"


def test_each_part_has_its_own_pointer() -> None:
    for part in ("subject", "text", "preheader"):
        with pytest.raises(Invalid) as refusal:
            compiled(**{"html": "<p>x</p>", part: "{{ x | nope }}"})
        assert refusal.value.field == f"/{part}"


def test_only_what_every_message_prints_without_a_default_is_required() -> None:
    template = Template(
        "{{ a }} {{ b | default: 'x' }}",
        "{% assign mine = 1 %}{{ mine }}"
        "{% if c %}{{ c }}{% endif %}{{ d.e }}{{ email }}{{ unsubscribe_url }}",
        preheader="{{ f | upcase }}",
    )

    assert templates.variables_required(template) == {"a", "d", "f"}


def test_a_value_can_begin_no_header_from_the_subject() -> None:
    made = compiled("Hi {{ name }}")

    assert shown(made, {"name": "Ada\r\nBcc: all@example.com\u2028x"})[0] == "Hi Ada Bcc: all@example.com x"


def test_the_compiled_form_depends_on_nothing_but_the_template() -> None:
    one, other = compiled(html=NEWSLETTER), compiled(html=NEWSLETTER)

    assert one == other
