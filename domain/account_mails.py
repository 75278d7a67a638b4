"""The mails about accounts: in Liquid, as a marketer would write them."""

from domain.templates import Template

_BEGINS = '<html><body style="font-family: sans-serif"><p>Hello{% if name != "" %} {{ name }}{% endif %},</p>'
_LINK = '<p><a href="{{ link }}">LINK</a></p><p>Or copy this address: {{ link }}</p>'
_NOTHING = "If this was not you, there is nothing to do: without this mail nobody gets any further."


def _mail(subject: str, said: str, link: str | None, otherwise: str = _NOTHING) -> Template:
    linked = _LINK.replace("LINK", link) if link else ""
    ends = f'<p style="color:#666666">{otherwise}</p></body></html>'
    return Template(subject, f"{_BEGINS}<p>{said}</p>{linked}{ends}")


MAILS = {
    "verify email": _mail(
        "Confirm your address",
        "please confirm that this address is yours. The link works for two days, once.",
        "Confirm the address",
    ),
    "registered already": _mail(
        "You have an account already",
        "somebody, probably you, tried to register with this address, which has an account already. Sign in "
        "with it, or set a new password if you forgot the old one.",
        None,
        "If this was not you, there is nothing to do.",
    ),
    "reset password": _mail(
        "Set a new password",
        "set a new password by this link. It works for one hour, once.",
        "Set a new password",
    ),
    "change email": _mail(
        "Confirm your new address",
        "please confirm that your account shall have this address. The link works for two hours, once.",
        "Confirm the address",
    ),
    "email changed": _mail(
        "Your address was changed",
        "your account has another address now: {{ email }}. All other sessions were ended.",
        None,
        "If this was not you, ask whoever runs this installation for help at once.",
    ),
    "password changed": _mail(
        "Your password was changed",
        "the password of your account was changed. All other sessions were ended.",
        None,
        "If this was not you, set a new password at once, and ask whoever runs this installation for help.",
    ),
    "second factor on": _mail(
        "The second factor is on",
        "to sign in to your account takes a code of your app from now on. All other sessions were ended.",
        None,
        "If this was not you, set a new password at once, and ask whoever runs this installation for help.",
    ),
    "second factor off": _mail(
        "The second factor is off",
        "to sign in to your account takes your password alone now.",
        None,
        "If this was not you, set a new password at once, and ask whoever runs this installation for help.",
    ),
    "recovery code used": _mail(
        "A recovery code was used",
        "one of the recovery codes of your account was used in place of your app. It works no more.",
        None,
        "If this was not you, set a new password at once, and ask whoever runs this installation for help.",
    ),
    "marketing held": _mail(
        "Marketing by {{ channel }} is held in {{ workspace_name }}",
        "marketing by {{ channel }} is held in {{ workspace_name }}, because it does harm. {{ why }} "
        "Messages that people asked for still go out. Find out who is written to and did not want it, or "
        "whose address is gone; then release the hold, under Deliverability or by "
        "POST /api/v1/deliverability/{{ channel }}/release.",
        None,
        "Owners and admins of the workspace get this mail.",
    ),
    "webhook disabled": _mail(
        'The webhook "{{ webhook }}" of {{ workspace_name }} was disabled',
        'the webhook "{{ webhook }}" of {{ workspace_name }} was disabled, so that nothing more is told '
        "there. "
        "{{ why }} What was on its way failed, and can be replayed: mend the receiver, enable the webhook by "
        "PATCH /api/v1/webhooks/{{ webhook_id }}, then replay by POST "
        "/api/v1/webhooks/{{ webhook_id }}/replay.",
        None,
        "Owners and admins of the workspace get this mail.",
    ),
    "verify sender": _mail(
        "May {{ workspace_name }} send from this address?",
        "{{ workspace_name }} wants to send mail from {{ email }}. Please confirm that they may. The link "
        "works for seven days, once.",
        "They may",
        "If you do not know what this is about, there is nothing to do: without your word nobody sends so.",
    ),
    "invitation": _mail(
        "You are invited to {{ workspace_name }}",
        "{{ inviter }} invites you to work in {{ workspace_name }} as {{ role }}. The link works for seven "
        "days, once.",
        "Accept the invitation",
        "If you do not know what this is about, there is nothing to do.",
    ),
}
