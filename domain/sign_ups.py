"""Coming on a list by a form: the mail that asks whether that was them, and how often one may ask."""

from datetime import timedelta

from domain.templates import Template

# The workspace's own template of this name is used, so that a marketer can say it otherwise; it is made when
# the first one is needed. It prints {{ list }}, {{ link }} and {{ sender }}, by which the form says who asks.
NAME = "Subscription confirmation"
MAIL = Template(
    "Please confirm: {{ list }}",
    '<html><body style="font-family: sans-serif"><p>Hello,</p>'
    "<p>somebody, probably you, asked for {{ list }} from {{ sender }} at this address. Please "
    "confirm that it was you.</p>"
    '<p><a href="{{ link }}">Yes, I want to get it</a></p><p>Or copy this address: {{ link }}</p>'
    '<p style="color:#666666">If it was not you, there is nothing to do: without your yes, you get nothing '
    "from us.</p></body></html>",
)
STEP = "confirm sign-up"  # In the ledger.

FORM = "subscribe form"  # As a consent's or a member's source: by whoever filled it in.

PERIOD = timedelta(minutes=15)
FROM_ONE_PLACE = 30  # Forms in a period.
PATIENCE = timedelta(hours=1)  # In which one address is asked by mail this often about one list:
TO_ONE_ADDRESS = 2
