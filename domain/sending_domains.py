"""What a domain publishes so that mail from it is believed, and what a look at it found, in words.

DKIM is RFC 6376, SPF RFC 7208, DMARC RFC 7489. Mailbox providers ask for all three of whoever sends much.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import idna

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?")
LONGEST_NAME = 253
_MOST_NAMED = 5  # Addresses in one finding.


class About(StrEnum):
    DKIM = "dkim"
    SPF = "spf"
    DMARC = "dmarc"
    RETURN_PATH = "return path"
    TRACKING = "tracking"


class Standing(StrEnum):
    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong"
    UNKNOWN = "unknown"  # Nobody could say: the DNS did not answer.


@dataclass(frozen=True, slots=True)
class Record:
    """One line to publish."""

    about: About
    type: str  # TXT, MX or CNAME.
    name: str
    value: str
    required: bool
    why: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What stands where a record should."""

    about: About
    name: str
    standing: Standing
    found: tuple[str, ...]
    says: str

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "found": list(self.found)}


@dataclass(frozen=True, slots=True)
class Ground:
    """What is the same for all domains of the installation."""

    spf: str  # What a policy says for our servers, such as include:spf.mail.example.
    bounce_host: str  # The mail server that takes bounces in; empty: there is none.
    tracking: str  # The host of our public URL.


def normal_domain(given: str) -> str:
    """A domain in ASCII and small letters. Raises ValueError with half a sentence."""
    text = given.strip().rstrip(".").lower()
    try:
        name = text if text.isascii() else idna.encode(text, uts46=True).decode()
    except idna.IDNAError as error:
        raise ValueError(f"This is no domain: {error}") from error
    labels = name.split(".")
    if len(name) > LONGEST_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("Write a domain, such as shop.example")
    if len(labels) < 2 or labels[-1].isdecimal():
        raise ValueError("Write a whole domain, such as shop.example")
    return name


def itself_and_above(name: str) -> list[str]:
    """shop.example for news.shop.example, too; never an ending that many share."""
    labels = name.lower().split(".")
    return [".".join(labels[at:]) for at in range(len(labels) - 1)]


def return_host(domain: str) -> str:
    """Where bounces of a domain's mail go: a name of its own, since people have mail at the domain itself."""
    return f"bounces.{domain}"


def to_publish(domain: str, selector: str, dkim: str, ground: Ground) -> list[Record]:
    """All records, the required ones first. `dkim` is the value of the key's record."""
    records = [
        Record(
            About.DKIM,
            "TXT",
            f"{selector}._domainkey.{domain}",
            dkim,
            True,
            "Receivers verify the signature of your mail by it, and we, that the domain is yours.",
        ),
        Record(
            About.DMARC,
            "TXT",
            f"_dmarc.{domain}",
            "v=DMARC1; p=none",
            True,
            "What receivers do with mail that only claims to be yours. Begin with p=none; p=quarantine is "
            "for when all that you send is signed.",
        ),
    ]
    if ground.bounce_host:
        at = return_host(domain)
        records += [
            Record(About.SPF, "TXT", at, f"v=spf1 {ground.spf} -all", True, _WHY_SPF),
            Record(
                About.RETURN_PATH,
                "MX",
                at,
                f"10 {ground.bounce_host}.",
                True,
                "Bounces come to us there, so that nobody is written to whose address is dead.",
            ),
        ]
    else:
        records.append(Record(About.SPF, "TXT", domain, f"v=spf1 {ground.spf} ~all", True, _WHY_SPF))
    why = (
        "Links and pixels of your mail lead to a name of yours. Then set it as the workspace's tracking host."
    )
    there = f"{ground.tracking}." if _is_a_name(ground.tracking) else ""
    records.append(
        Record(About.TRACKING, "CNAME", f"click.{domain}", there, False, why if there else _NO_NAME)
    )
    return records


_NO_NAME = (
    "Set PUBLIC_URL first, to an address with a name of your own: an alias can't lead to a number, or to the "
    "machine that it is asked on."
)


def _is_a_name(host: str) -> bool:
    """Whether it is a name that others can look up."""
    try:
        normal_domain(host)
    except ValueError:
        return False
    return not host.lower().rstrip(".").endswith("localhost")


_WHY_SPF = (
    "Receivers see by it that our servers may send for you. Where there is such a record already, add what "
    "it lacks to it: there can be only one."
)


def about_dkim(record: Record, found: Sequence[str] | None) -> Finding:
    """`found` are the texts at the record's name; None where the DNS did not answer."""
    if found is None:
        return _unknown(record)
    keys = [text for text in found if "p=" in text]
    if not keys:
        return _finding(record, Standing.MISSING, found, f"There is no key at {record.name}: publish it.")
    wanted = _tags(record.value)
    if any(
        _tags(text).get("p") == wanted["p"] and _tags(text).get("k", "rsa") == wanted["k"] for text in keys
    ):
        if len(keys) > 1:
            says = f"There are {len(keys)} keys at {record.name}: receivers may take any of them. Keep ours."
            return _finding(record, Standing.WRONG, found, says)
        return _finding(record, Standing.OK, found, "Your mail is signed, and receivers can verify it.")
    if any(not _tags(text).get("p") for text in keys):
        return _finding(
            record, Standing.WRONG, found, "The key there is revoked (p= is empty): publish ours."
        )
    says = "Another key stands there, or a part of ours: publish it whole, in pieces of up to 255 characters."
    return _finding(record, Standing.WRONG, found, says)


def about_spf(record: Record, found: Sequence[str] | None) -> Finding:
    if found is None:
        return _unknown(record)
    policies = [text for text in found if text.lower().split(" ")[0] == "v=spf1"]
    if not policies:
        return _finding(
            record, Standing.MISSING, found, f"There is no SPF policy at {record.name}: publish it."
        )
    if len(policies) > 1:
        says = (
            f"There are {len(policies)} SPF policies at {record.name}, so that none counts: make one of them."
        )
        return _finding(record, Standing.WRONG, policies, says)
    terms = policies[0].lower().split()[1:]
    if {"+all", "all"} & {*terms}:
        says = "It allows everybody (+all) to send for you: end it with ~all or -all."
        return _finding(record, Standing.WRONG, policies, says)
    wanted = record.value.split()[1:-1]
    lacking = [term for term in wanted if term.lower() not in {each.removeprefix("+") for each in terms}]
    if lacking:
        says = f"It does not name our servers: add {' '.join(lacking)} before its end."
        return _finding(record, Standing.WRONG, policies, says)
    return _finding(record, Standing.OK, policies, "Our servers may send for you.")


def about_dmarc(record: Record, found: Sequence[str] | None, at: str) -> Finding:
    """`at` is where the texts were found: at the record's name, or above it."""
    if found is None:
        return _unknown(record)
    policies = [text for text in found if text.replace(" ", "").lower().startswith("v=dmarc1")]
    if not policies:
        return _finding(
            record, Standing.MISSING, found, f"There is no DMARC policy at {record.name}: publish it."
        )
    if len(policies) > 1:
        says = f"There are {len(policies)} DMARC policies at {at}, so that none counts: keep one of them."
        return _finding(record, Standing.WRONG, policies, says)
    policy = _tags(policies[0]).get("p", "")
    if policy not in ("none", "quarantine", "reject"):
        return _finding(record, Standing.WRONG, policies, "It says nothing with p=: write p=none, to begin.")
    above = "" if at == record.name else f" It is that of {at.removeprefix('_dmarc.')}."
    meaning = {
        "none": "Receivers report what only claims to be yours, and let it through.",
        "quarantine": "What only claims to be yours is put aside as spam.",
        "reject": "What only claims to be yours is refused.",
    }
    return _finding(record, Standing.OK, policies, meaning[policy] + above)


def about_host(record: Record, found: Sequence[str] | None) -> Finding:
    """An MX or a CNAME: `found` are the hosts that it leads to."""
    if not record.value:
        return _finding(record, Standing.MISSING, found or (), record.why)
    if found is None:
        return _unknown(record)
    wanted = record.value.split()[-1].rstrip(".").lower()
    if not found:
        says = f"There is no {record.type} at {record.name}: publish it."
        return _finding(record, Standing.MISSING, found, says)
    if [host.rstrip(".").lower() for host in found] == [wanted]:
        return _finding(record, Standing.OK, found, "It leads to us.")
    says = f"It leads to {', '.join(found)}: it must be {wanted}, and nothing else."
    return _finding(record, Standing.WRONG, found, says)


def telling_of(alone: Sequence[str], findings: Sequence[Finding]) -> list[Finding]:
    """The findings of a domain that is verified no more, with the addresses for which it alone vouched."""
    named = ", ".join(alone[:_MOST_NAMED]) + (
        f" and {len(alone) - _MOST_NAMED} more" if len(alone) > _MOST_NAMED else ""
    )
    says = (
        f"Nobody vouches for {named} any more, and no mail comes from there: publish the key again, or have "
        "links mailed by POST /api/v1/senders/{id}/verify."
    )
    return [
        replace(each, says=f"{each.says} {says}") if each.about is About.DKIM else each for each in findings
    ]


def _finding(record: Record, standing: Standing, found: Sequence[str], says: str) -> Finding:
    return Finding(record.about, record.name, standing, tuple(text[:1000] for text in found[:10]), says)


def _unknown(record: Record) -> Finding:
    says = f"The DNS did not answer about {record.name}: check again in a while."
    return Finding(record.about, record.name, Standing.UNKNOWN, (), says)


def _tags(text: str) -> dict[str, str]:
    """A list of tags (RFC 6376, section 3.2), with no white space within values."""
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip().lower(): "".join(value.split()) for name, _, value in pairs}
