"""Email addresses: what is one, and when two are the same.

Two addresses are the same when they differ in case only, so they are kept in lower case. A tag after a plus
and dots in the local part stay as they are: only the provider knows what they mean. An international domain
is kept in letters, not in punycode, so that both ways to write it meet.
"""

import re

from email_validator import EmailNotValidError, validate_email

_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"

# The ordinary case, a hundred times faster than the whole rule; what it does not match, the rule decides.
# Labels with hyphens in third and fourth place (punycode among them) are left to the rule.
_ORDINARY = re.compile(
    rf"(?=.{{1,64}}@)(?=.{{3,254}}\Z){_ATOM}(?:\.{_ATOM})*@"
    rf"(?:(?!..--)(?=[a-z0-9-]{{1,63}}\.){_LABEL}\.)+(?!..--)(?=[a-z0-9-]{{2,63}}\Z)[a-z](?:[a-z0-9-]*[a-z0-9])?",
).fullmatch


def normal_address(text: str) -> str:
    """The address in the one form that we keep and compare.

    Raises `ValueError` with half a sentence that says what is wrong. The DNS is not asked.
    """
    lower = text.lower() if text.isascii() else text
    if _ORDINARY(lower):
        return lower
    try:
        # Not `globally_deliverable`: whether .test or .local reaches anybody is the network's business.
        found = validate_email(text, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise ValueError(str(error).rstrip(".")) from error
    if "." not in found.domain:
        raise ValueError("The part after the @-sign is not a whole domain, such as example.com")
    return found.normalized.lower()
