"""A newsletter as marketers write them, somebody to read it, and the way from one to the other."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from liquid.exceptions import LiquidError

from domain import templates
from domain.holes import parse
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


def by_liquid(source: str, variables: dict[str, Any], *, markup: bool) -> str | None:
    try:
        return str(parse(source, "/html", markup=markup).render(**variables))
    except LiquidError:
        return None
