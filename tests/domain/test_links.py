import re

import pytest
from hypothesis import given
from hypothesis import strategies as some

from domain import templates
from domain.links import destination
from tests.domain.mails import ADA, NEWSLETTER, TOKEN, Outline, compiled, shown


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
