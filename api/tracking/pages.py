"""The few pages that readers of mails see of us: plain HTML, without scripts, pictures or cookies."""

import base64
import hashlib
from html import escape

_STYLE = (
    "body{font:1.125rem/1.6 system-ui,sans-serif;color:#1b1b1f;background:#fff;margin:0}"
    "main{max-width:34rem;margin:12vh auto;padding:0 1.5rem}"
    "h1{font-size:1.75rem;line-height:1.25}"
    "button{font:inherit;padding:.7rem 1.6rem;border:0;border-radius:.4rem;background:#1d3a8a;color:#fff;"
    "cursor:pointer}"
    "button:focus-visible{outline:3px solid #f59e0b;outline-offset:3px}"
    "@media(prefers-color-scheme:dark){body{color:#f1f1f4;background:#17171b}button{background:#a9c1ff;"
    "color:#10182e}}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)

_FORM = (
    '<form method="post"><input type="hidden" name="from" value="page"><button>Unsubscribe</button></form>'
)


def asking(sender: str | None) -> bytes:
    """Whether to unsubscribe. `sender` is the name that the mails come from, None if it can't be told now."""
    who = f" from {sender}" if sender else ""
    return _page(
        "Unsubscribe?",
        f"You will get no more marketing mail{who} at the address that this mail came to.",
        form=_FORM,
    )


def unsubscribed() -> bytes:
    return _page(
        "You are unsubscribed",
        "You will get no more marketing mail like this. What is on its way already may still arrive.",
        "You can close this page.",
    )


def unknown() -> bytes:
    return _page(
        "This link leads nowhere",
        "Perhaps it was cut short on its way: try it again from the mail itself, or answer the mail.",
    )


def unavailable() -> bytes:
    return _page(
        "Please try again",
        "We can't do this right now, and nothing was changed. Please try again in a minute.",
    )


def not_that_way() -> bytes:
    return _page("This is not how it works", "Please open the link from the mail in a browser.")


def _page(title: str, *paragraphs: str, form: str = "") -> bytes:
    said = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{said}{form}</main></body></html>"
    ).encode()
