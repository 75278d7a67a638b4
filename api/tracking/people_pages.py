"""What people see who come on a list, or choose what they hear of."""

from collections.abc import Sequence
from html import escape

from api.tracking.pages import page
from models.queries.preferences import Choices
from models.queries.sign_ups import Form

# People leave it empty, since they don't see it; programs that fill in forms fill in all of it.
TRAP = "website"


def subscribe(form: Form, email: str = "", wrong: str = "") -> bytes:
    """The form of a list; after a refusal, with what was sent and why it was refused."""
    why = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    fields = (
        f'{why}<form method="post"><label>Your email address <input type="email" name="email" required '
        f'autocomplete="email" maxlength="320" value="{escape(email)}"></label>'
        f'<p class="away" aria-hidden="true"><label>Leave this empty <input name="{TRAP}" tabindex="-1" '
        'autocomplete="off"></label></p><p><button>Subscribe</button></p></form>'
    )
    then = "We will ask you by mail whether it was you." if form.double else "You can leave it at any time."
    said = [form.description] if form.description else []
    return page(form.list_name, *said, f"By {form.sender}. {then}", form=fields)


def look_into_your_mail() -> bytes:
    return page(
        "One more step",
        "Please look into your mail: if you are not subscribed yet, there is a message with a link by which "
        "you confirm that it was you.",
        "If nothing comes within some minutes, look among the unwanted mail.",
    )


def on_the_list(form: Form) -> bytes:
    return page("You are subscribed", f"You are on the list “{form.list_name}” of {form.sender}.")


def confirm(form: Form) -> bytes:
    return page(
        f"Subscribe to “{form.list_name}”?",
        f"By your yes you allow {form.sender} to write to you at this address, until you say no.",
        form='<form method="post"><button>Yes, subscribe me</button></form>',
    )


def used_up() -> bytes:
    return page(
        "This link does nothing any more",
        "Nobody is waiting for your yes. Fill in the form again if you want to subscribe.",
    )


def too_many() -> bytes:
    return page("Please wait a while", "Too many forms came from where you are. Try again in some minutes.")


def choose(choices: Choices, saved: str = "") -> bytes:
    """Each topic with its box, and the way out of all of it.

    No message names a topic yet, so the page says what a choice does and what it does not.
    """
    told = f'<p role="status"><strong>{escape(saved)}</strong></p>' if saved else ""
    boxes = "".join(_box(choices, index) for index in range(len(choices.topics)))
    if boxes:
        boxes = f'<form method="post">{boxes}<p><button>Save</button></p></form>'
    nothing = (
        '<form method="post"><input type="hidden" name="none" value="1">'
        '<button class="quiet">None of it: unsubscribe me</button></form>'
    )
    if choices.denied:
        said = f"You get no marketing mail from {choices.sender}."
        if choices.topics:
            said += " Choose something, and you may be written to again."
            nothing = ""
    else:
        said = f"What do you want to hear of from {choices.sender}?"
    more = [_KEPT] if boxes else []
    return page("What you hear of", said, *more, form=told + boxes + nothing)


def _box(choices: Choices, index: int) -> str:
    topic = choices.topics[index]
    checked = " checked" if topic.id in choices.chosen else ""
    channel = "" if topic.purpose == "email" else f" ({escape(_CHANNELS.get(topic.purpose, topic.purpose))})"
    more = f"<small>{escape(topic.description)}</small>" if topic.description else ""
    return (
        f'<input type="hidden" name="shown" value="{topic.id}"><label><input type="checkbox" name="topic" '
        f'value="{topic.id}"{checked}>{escape(topic.name)}{channel}{more}</label>'
    )


_KEPT = (
    "What you choose is kept, but messages are not sorted by it yet. To get none at all, unsubscribe: that "
    "holds at once."
)
_CHANNELS = {"sms": "by SMS", "whatsapp": "by WhatsApp", "push": "as a notification", "tracking": "tracking"}


def all_fields(pairs: Sequence[tuple[str, str]], name: str) -> list[str]:
    """The values of the fields of a form that have this name."""
    return [value for field, value in pairs if field == name]
