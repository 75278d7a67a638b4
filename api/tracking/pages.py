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
    "button.quiet{background:none;color:inherit;text-decoration:underline;padding:.7rem 0}"
    "input[type=email]{font:inherit;padding:.6rem .8rem;width:100%;box-sizing:border-box;color:inherit;"
    "background:transparent;border:1px solid #8a8a94;border-radius:.4rem}"
    "input[type=checkbox]{width:1.2rem;height:1.2rem;margin:0 .7rem 0 0;vertical-align:-.15rem}"
    "label{display:block;margin:1rem 0}small{display:block;margin-left:1.9rem;opacity:.8}"
    "a{color:inherit}.away{position:absolute;left:-9999px}.wrong{color:#b91c1c}"
    "button:focus-visible,input:focus-visible,a:focus-visible{outline:3px solid #f59e0b;outline-offset:3px}"
    "@media(prefers-color-scheme:dark){body{color:#f1f1f4;background:#17171b}button{background:#a9c1ff;"
    "color:#10182e}button.quiet{background:none;color:inherit}.wrong{color:#fca5a5}}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)

_FORM = (
    '<form method="post"><input type="hidden" name="from" value="page"><button>Unsubscribe</button></form>'
)


def asking(sender: str | None, choose: str | None = None) -> bytes:
    """Whether to unsubscribe. `sender` is the name that the mails come from, None if it can't be told now.

    `choose` is the way to the page where one keeps some of it.
    """
    who = f" from {sender}" if sender else ""
    instead = f'<p><a href="{escape(choose)}">Choose what you get instead</a></p>' if choose else ""
    return page(
        "Unsubscribe?",
        f"You will get no more marketing mail{who} at the address that this mail came to.",
        form=_FORM + instead,
    )


def unsubscribed() -> bytes:
    return page(
        "You are unsubscribed",
        "You will get no more marketing mail like this. What is on its way already may still arrive.",
        "You can close this page.",
    )


def unknown() -> bytes:
    return page(
        "This link leads nowhere",
        "Perhaps it was cut short on its way: try it again from the mail itself, or answer the mail.",
    )


def unavailable() -> bytes:
    return page(
        "Please try again",
        "We can't do this right now, and nothing was changed. Please try again in a minute.",
    )


def not_that_way() -> bytes:
    return page("This is not how it works", "Please open the link from the mail in a browser.")


def page(title: str, *paragraphs: str, form: str = "") -> bytes:
    """A whole page. `form` is HTML as it is; all else is text."""
    said = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{said}{form}</main></body></html>"
    ).encode()
