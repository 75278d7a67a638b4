"""What a mail's pixel, links and way out lead to: raw ASGI, because readers come by the thousand.

    GET  /o/<token>      a picture of one pixel; the mail was opened
    GET  /c/<token>/<n>  on to link n of the mail, and nowhere else; it was clicked
    GET  /u/<token>      a page that asks; it unsubscribes nobody, because scanners follow every link
    POST /u/<token>      unsubscribes, by that page's button or a mail program's (RFC 8058)
    /p/<token>           GET a page where one chooses what one hears of; POST what was chosen
    /s/<token>           GET the form by which one comes on a list; POST what was filled in
    /s/confirm/<token>   GET a page that asks whether that was them; POST their yes

HEAD is answered like GET and never counts. Tokens are `domain/tokens.py`'s; who has one has read the mail.

While the database answers, so do we only when what happened is durable: arrivals during one commit form the
group of the next. When it is away, a group is tried again for a few seconds, which outlasts a restart. Then

- the pixel is answered all the same, and the open is lost;
- a click goes on if this process has seen where it goes, and is lost as a click; otherwise 503, try again;
- an unsubscribe is never claimed to have happened: 503, try again.

The same holds when more are waiting than fit. What is lost is logged as an error, with how many and which
messages. Opens and clicks are written down only while the profile's consent to tracking is granted, which
the statement that writes them asks; the reader gets the same answer either way.
"""

from api.tracking.app import Tracking, build

__all__ = ["Tracking", "build"]
