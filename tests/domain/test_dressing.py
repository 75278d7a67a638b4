import re
from contextlib import suppress
from time import perf_counter, process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from domain.dressing import as_text
from domain.errors import Invalid
from tests.domain.mails import ADA, NEWSLETTER, TOKEN, Outline, by_liquid, compiled, shown


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


def test_the_text_of_many_empty_cells_takes_no_time() -> None:
    began = process_time()

    text = as_text("Hello" + "</td>" * 200_000)

    assert text == "Hello\n"
    assert process_time() - began < 5  # Seconds: it is half of one, and 20 where cells look for one another.


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
