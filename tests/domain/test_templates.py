import html
import re
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from liquid.exceptions import LiquidError

from domain import templates
from domain.errors import Invalid
from domain.holes import Taken, TemplateError, as_is, escaped, filled, parse, skeleton
from domain.links import destination
from domain.templates import Compiled, Template

TOKEN = "t" * 59

NEWSLETTER = Path(__file__).with_name("newsletter.html").read_text()

ADA: dict[str, Any] = {
    "first_name": "Ada <3",
    "email": "ada+news@example.com",
    "points": 7,
    "vip": True,
    "homepage": "https://ada.example/?a=1&b=2",
    "cart": [
        {"url": "https://shop.example/1", "title": "Cup & saucer", "price": "3.50"},
        {"url": "https://shop.example/2", "title": "Spoon", "price": "1.00"},
    ],
}


class Outline(HTMLParser):
    """The tags, words and links of a page, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "a":
            self.links.append(dict(attrs).get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        self.tags.append("/" + tag)

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def compiled(subject: str = "Hello", html: str = "<p>Hello</p>", **more: str) -> Compiled:
    return templates.compile(
        Template(subject, html, **more),
        workspace_name="Shop & Sons",
        postal_address="1 Main St\n12345 Town",
        public_url="https://mail.example/",
    )


def shown(made: Compiled, variables: dict[str, Any], *, tracked: bool = True) -> tuple[str, str, str]:
    return templates.show(made, templates.render(made, variables), TOKEN, tracked=tracked)


# --- holes: the same answer as Liquid's own

json = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(max_size=8),
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


def by_liquid(source: str, variables: dict[str, Any], *, markup: bool) -> str | None:
    try:
        return str(parse(source, "/html", markup=markup).render(**variables))
    except LiquidError:
        return None


def by_holes(source: str, variables: dict[str, Any], *, markup: bool) -> str | None:
    taken = Taken({})
    said = taken.apart(source, "/html", markup=markup)
    pieces = skeleton(said, lambda hole, _: as_is if taken.holes[hole].markup or not markup else escaped)
    try:
        return filled(pieces, taken.render(variables), TOKEN)
    except TemplateError:
        return None


@given(some.sampled_from(PLAIN), some.dictionaries(some.sampled_from("ab"), json), some.booleans())
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
    ],
)
def test_whatever_goes_wrong_while_rendering_is_that_messages_error(source: str) -> None:
    made = compiled(html=f"<p>{source}</p>")

    with pytest.raises(TemplateError):
        templates.render(made, {"n": 1, "long": "x" * 100})


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


# --- links, the pixel, the way out


def test_links_are_followed_only_for_those_who_may_be() -> None:
    made = compiled(html=NEWSLETTER)

    _, page, text = shown(made, ADA)
    assert Outline(page).links == [
        f"https://mail.example/c/{TOKEN}/0",
        f"https://mail.example/c/{TOKEN}/2",
        f"https://mail.example/c/{TOKEN}/3",
        f"https://mail.example/c/{TOKEN}/4",
        "mailto:help@shop.example",
        "#top",
        f"https://mail.example/c/{TOKEN}/1",
        f"https://mail.example/u/{TOKEN}",
    ]
    assert page.count(f"https://mail.example/o/{TOKEN}") == 1

    _, direct, same_text = shown(made, ADA, tracked=False)
    assert "/c/" not in direct
    assert "/o/" not in direct
    assert f"https://mail.example/u/{TOKEN}" in direct
    assert 'href="https://shop.example/new?a=1&amp;who=ada%2Bnews%40example.com"' in direct
    assert 'href="https://ada.example/?a=1&amp;b=2"' in direct
    assert text == same_text


def test_a_click_goes_where_the_link_of_this_very_message_went() -> None:
    made = compiled(html=NEWSLETTER)
    holes = templates.render(made, ADA)

    assert [templates.link_target(made, number, holes) for number in range(-1, 6)] == [
        None,
        "https://shop.example/new?a=1&who=ada%2Bnews%40example.com",
        "https://ada.example/?a=1&b=2",
        "https://shop.example/vip",
        "https://shop.example/1",
        "https://shop.example/2",
        None,
    ]


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", " java\nscript:alert(1)", "data:text/html,x", "JAVASCRIPT:x"]
)
def test_a_value_never_makes_a_link_that_runs_something(url: str) -> None:
    made = compiled(html='<a href="{{ url }}">x</a>')
    holes = templates.render(made, {"url": url})

    assert templates.link_target(made, 0, holes) is None
    assert '<a href="#">x</a>' in templates.show(made, holes, TOKEN, tracked=False)[1]


@pytest.mark.parametrize(
    ("url", "goes"),
    [
        ("https://shop.example/a b?n=Zoë&c=%20#x y", "https://shop.example/a%20b?n=Zo%C3%AB&c=%20#x%20y"),
        ("HTTP://shop.example", "http://shop.example"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://shop.example\r\nSet-Cookie: x", None),
        ("https://shop.example@evil.example/", None),
        ("https:\\\\evil.example", "https://evil.example"),
        ("//evil.example", None),
        ("https:///nowhere", None),
        ("ftp://shop.example", None),
        ("https://[::1", None),
        ("", None),
    ],
)
def test_a_destination_is_plain_http_in_ascii_or_nothing(url: str, goes: str | None) -> None:
    assert destination(url) == goes


@given(some.text())
def test_any_destination_is_harmless_in_a_header(url: str) -> None:
    found = destination("https://shop.example/" + url)

    assert found is None or (found.isascii() and found.isprintable() and " " not in found)


def test_a_footer_is_added_only_for_what_the_template_lacks() -> None:
    own = "<p>{{ workspace.postal_address | newline_to_br }}</p><a href='{{ unsubscribe_url }}'>Leave</a>"

    page = shown(compiled(html=own), {})[1]
    assert page.count(f"/u/{TOKEN}") == 1
    assert page.count("12345 Town") == 1

    text = shown(compiled(html=own), {})[2]
    assert text == f"1 Main St\n12345 Town\n\nLeave (https://mail.example/u/{TOKEN})\n"

    page = shown(compiled(html="<!-- {{ unsubscribe_url }} --><p>1 Main St<br>12345 Town</p>"), {})[1]
    assert page.count(">Unsubscribe</a>") == 1
    assert page.count("12345 Town") == 1


def test_the_way_out_works_within_blocks_and_filters() -> None:
    made = compiled(
        html="{% assign u = unsubscribe_url %}{% if a %}<a href='{{ u }}'>{{ u | url_encode }}</a>{% endif %}"
    )

    page = shown(made, {"a": True})[1]
    assert f"<a href='https://mail.example/u/{TOKEN}'>https%3A%2F%2Fmail.example%2Fu%2F{TOKEN}</a>" in page
    assert "campanile-token" not in page


def test_a_given_text_part_is_kept_and_gets_the_way_out() -> None:
    text = shown(compiled(text="Hello {{ name }} & co"), {"name": "<Ada>"})[2]

    assert text == (
        f"Hello <Ada> & co\n\n1 Main St\n12345 Town\nUnsubscribe: https://mail.example/u/{TOKEN}\n"
    )


def test_the_text_part_says_what_the_html_says() -> None:
    text = shown(compiled(html=NEWSLETTER, preheader="Only today"), ADA)[2]

    assert "Good morning, Ada <3!" in text
    assert "Kaffee & Küche — you have 7 points." in text
    assert "See what is new (https://shop.example/new?a=1&who=ada%2Bnews%40example.com)" in text
    assert "the lounge (https://shop.example/vip)" in text
    assert (
        "Cup & saucer (https://shop.example/1) \n3.50" in text
        or "Cup & saucer (https://shop.example/1) 3.50" in text
    )
    assert "Write to us (help@shop.example)" in text
    assert "<" not in text.replace("Ada <3", "")
    assert "{" not in text
    assert "gone" not in text


def test_a_preheader_is_hidden_at_the_beginning_of_the_body() -> None:
    page = shown(compiled(html=NEWSLETTER, preheader="2 < 3, {{ first_name }}"), ADA)[1]

    assert re.search(r'<body [^>]*><div style="display:none[^>]*>2 &lt; 3, Ada &lt;3</div>', page)


# --- the marketer's HTML stays theirs


def test_a_newsletter_keeps_its_structure_when_styles_are_inlined() -> None:
    assert len(NEWSLETTER) > 7000
    page = shown(compiled(html=NEWSLETTER), ADA, tracked=False)[1]
    before = by_liquid(NEWSLETTER, ADA, markup=True)
    assert before is not None

    assert page.startswith('<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"')
    assert '<td class="price" style="color: #aa0000;font-weight: bold;">3.50</td>' in page
    assert "a:hover" in page
    assert "@media (max-width: 600px)" in page
    assert '<!--[if mso]><v:roundrect href="https://shop.example/mso"><![endif]-->' in page
    assert re.search('<tr bgcolor="#eeeeee" ?>', page)
    assert "<title>News for Ada &lt;3</title>" in page
    there, footer = page.split('<div style="margin:24px', 1)
    ours, theirs = Outline(there), Outline(before.split("</body>")[0])
    assert ours.tags == [tag for tag in theirs.tags if tag != "/meta"]
    assert ours.words[-400:] == theirs.words[-400:]
    assert footer.replace("\n", "").endswith("Unsubscribe</a></div></body></html>")


def test_html_without_a_style_sheet_stays_as_it_was_written_to_the_letter() -> None:
    page = "<P Class=x>a &nbsp; b<BR/>\r\n<td>odd</td> <a href=https://shop.example>&copy; unquoted"

    assert shown(compiled(html=page), {}, tracked=False)[1].startswith(page)


def body(page: str) -> str:
    return re.sub("(?s)<style.*?(</style>|$)|<!--.*?(-->|$)", "", page)


@pytest.mark.parametrize(
    "page",
    [
        "<style>.a{color:red}</style>{% if a %}<div class=a>{% else %}<div>{% endif %}x</div>",
        "<style>{% if a %}.a{color:red}{% endif %}</style><p class=a>x</p>",
        "<style>.a{color:red}</style><table>{{ rows }}<tr><td {{ more }}>x</table>",
        "<style>.a{color:{{ c }}}</style><p class=a>&#123;&#123; x }} {% raw %}{{ y }}{% endraw %}</p>",
        "<style>p{color:red",
    ],
)
def test_inlining_never_loses_or_wakes_liquid(page: str) -> None:
    variables = {"a": "1", "c": "blue", "rows": "2", "more": "3"}

    made = shown(compiled(html=page), variables, tracked=False)[1]

    expected = by_liquid(page, variables, markup=True)
    assert expected is not None
    assert set(Outline(body(expected)).words) <= set(Outline(body(made)).words)
    assert "\U0010f000" not in made


def test_html_that_would_hide_the_way_out_is_refused() -> None:
    with pytest.raises(Invalid, match="hides the way out"):
        compiled(html="<p>x</p><!-- never closed")


def test_style_sheets_elsewhere_are_neither_fetched_nor_read(tmp_path: Any) -> None:
    secret = tmp_path / "secret.css"
    secret.write_text("p { color: rebeccapurple }")
    page = f'<link rel="stylesheet" href="{secret}"><link rel=stylesheet href="file://{secret}"><style>b{{}}</style><p>x</p>'

    assert "rebeccapurple" not in shown(compiled(html=page), {})[1]


@given(some.text(alphabet="<a href='\"!->/style{}%& \n=x", max_size=60))
def test_whatever_is_written_either_compiles_or_is_refused_in_words(page: str) -> None:
    made = None
    with suppress(Invalid):
        made = compiled(html=page)
    if made is None:
        return
    page = shown(made, {"a": "1", "x": "2", "e": "3", "f": "4"})[1]
    assert f"https://mail.example/u/{TOKEN}" in Outline(page).links


@pytest.mark.parametrize(
    "piece",
    [
        "<div>",
        "<b>",
        "<div></p></b>",
        "<svg><tr>",
        "<a <",
        '<a "',
        "<style>",
        "<!--",
        "</",
        "<![",
        "{{",
        "&#",
        "<b><div></b>",
    ],
)
def test_nothing_that_is_written_ends_the_process_or_takes_for_ever(piece: str) -> None:
    page = (piece * 190_000)[:190_000]

    began = perf_counter()
    for source in (page, "<style>p { color: red }</style>" + page):
        with suppress(Invalid):
            compiled(html=source)

    assert perf_counter() - began < 20  # Seconds: what must not be is minutes.


def test_the_compiled_form_depends_on_nothing_but_the_template() -> None:
    one, other = compiled(html=NEWSLETTER), compiled(html=NEWSLETTER)

    assert one == other
    assert html.unescape(str(one.holes)) == html.unescape(str(other.holes))
