"""SES's events as SNS posts them: one notification each, signed with RSA (signature version 1 or 2)."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from lab.desk import Desk
from lab.record import Accepted
from lab.reports import Event, Hook, Posting, Twist, lane
from lab.ses import parsed, tags_of

STORIES = {
    "sent": ["Send"],
    "delivered": ["Send", "Delivery"],
    "bounce": ["Send", "Bounce:Permanent/General"],
    "soft_bounce": ["Send", "Bounce:Transient/MailboxFull"],
    "undetermined": ["Send", "Bounce:Undetermined/Undetermined"],
    "complaint": ["Send", "Delivery", "Complaint"],
    "deferred": ["Send", "DeliveryDelay"],
    "rejected": ["Reject"],
    "rendering_failure": ["Rendering Failure"],
    "open": ["Send", "Delivery", "Open"],
    "click": ["Send", "Delivery", "Click"],
    "unsubscribe": ["Send", "Delivery", "Subscription"],
}
OTHERS: frozenset[str] = frozenset()
SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
    ),
}  # fmt: skip
CERTIFICATE = "/SimpleNotificationService-0000000000000000000000000000fab0.pem"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def postings(lab: Desk, hook: Hook, events: Sequence[Event], twist: Twist) -> list[Posting]:
    """One each."""
    return [notification(lab, hook, event, twist) for event in events]


def notification(lab: Desk, hook: Hook, event: Event, twist: Twist) -> Posting:
    told = orjson.dumps(described(event)).decode()
    envelope = {
        "Type": "Notification",
        "MessageId": str(uuid4()),
        "TopicArn": hook.topic,
        "Subject": "Amazon SES Email Event Notification",
        "Message": told,
        "Timestamp": instant(datetime.now(UTC).timestamp() - twist.stale),
        "UnsubscribeURL": f"{lab.url}/?Action=Unsubscribe&SubscriptionArn={hook.topic}:{uuid4()}",
    }
    return posted(lab, hook, envelope, twist, lane(event.message))


def confirmation(lab: Desk, hook: Hook, token: str, twist: Twist) -> Posting:
    """Asks whether the address wants this topic; who does visits SubscribeURL."""
    envelope = {
        "Type": "SubscriptionConfirmation",
        "MessageId": str(uuid4()),
        "Token": token,
        "TopicArn": hook.topic,
        "Message": f"You have chosen to subscribe to the topic {hook.topic}.\nTo confirm the subscription, "
        "visit the SubscribeURL included in this message.",
        "SubscribeURL": f"{lab.url}/?Action=ConfirmSubscription&TopicArn={hook.topic}&Token={token}",
        "Timestamp": instant(datetime.now(UTC).timestamp() - twist.stale),
    }
    return posted(lab, hook, envelope, twist, 0)


def posted(lab: Desk, hook: Hook, envelope: dict[str, str], twist: Twist, lane_: int) -> Posting:
    fields = [name for name in SIGNED[envelope["Type"]] if name in envelope]
    text = "".join(f"{name}\n{envelope[name]}\n" for name in fields)
    method = SHA1() if hook.signature_version == "1" else SHA256()
    signature = twist.keys.sns.sign(text.encode(), PKCS1v15(), method)
    signed = {
        "SignatureVersion": hook.signature_version,
        "Signature": b64encode(signature).decode(),
        "SigningCertURL": f"{lab.url}{CERTIFICATE}",
    }
    headers = {
        "x-amz-sns-message-type": envelope["Type"],
        "x-amz-sns-message-id": envelope["MessageId"],
        "x-amz-sns-topic-arn": hook.topic,
        "Content-Type": "text/plain; charset=UTF-8",
        "User-Agent": "Amazon Simple Notification Service Agent",
    }
    return Posting(hook.url, headers, orjson.dumps(envelope | signed), lane_)


def described(event: Event) -> dict[str, Any]:
    """The event as SES publishes it."""
    to, at = event.message.recipient, instant(event.at)
    told: dict[str, Any] = {"eventType": event.name, "mail": mail(event.message)}
    match event.name:
        case "Send":
            told["send"] = {}
        case "Delivery":
            told["delivery"] = {
                "timestamp": at, "processingTimeMillis": 512, "recipients": [to],
                "smtpResponse": "250 2.6.0 Message received", "reportingMTA": "a1-1.smtp-out.amazonses.com",
            }  # fmt: skip
        case "Bounce":
            told["bounce"] = bounce(event, at)
        case "Complaint":
            told["complaint"] = {
                "complainedRecipients": [{"emailAddress": to}], "timestamp": at, "feedbackId": str(uuid4()),
                "userAgent": "Amazon SES Mailbox Simulator", "complaintFeedbackType": event.detail or "abuse",
                "arrivalDate": at,
            }  # fmt: skip
        case "Reject":
            told["reject"] = {"reason": event.detail or "Bad content"}
        case "DeliveryDelay":
            told["deliveryDelay"] = {
                "timestamp": at, "delayType": event.detail or "TransientCommunicationFailure",
                "expirationTime": instant(event.at + 14 * 3600),
                "delayedRecipients": [{
                    "emailAddress": to, "status": "4.4.1",
                    "diagnosticCode": "smtp; 421 4.4.1 Unable to connect to remote host",
                }],
            }  # fmt: skip
        case "Rendering Failure":
            told["failure"] = {"errorMessage": event.detail, "templateName": "InlineTemplate"}
        case "Open":
            told["open"] = {"ipAddress": "192.0.2.1", "timestamp": at, "userAgent": AGENT}
        case "Click":
            told["click"] = {
                "ipAddress": "192.0.2.1", "timestamp": at, "userAgent": AGENT, "linkTags": None,
                "link": event.detail or "https://shop.example/",
            }  # fmt: skip
        case "Subscription":
            told["subscription"] = {
                "contactList": "lab", "timestamp": at, "source": "UnsubscribeHeader",
                "newTopicPreferences": {"unsubscribeAll": True, "topicSubscriptionStatus": []},
                "oldTopicPreferences": {"unsubscribeAll": False, "topicSubscriptionStatus": []},
            }  # fmt: skip
    return told


def bounce(event: Event, at: str) -> dict[str, Any]:
    kind, _, subtype = (event.detail or "Permanent/General").partition("/")
    status, words = {
        "Permanent": ("5.1.1", "smtp; 550 5.1.1 user unknown"),
        "Transient": ("4.2.2", "smtp; 452 4.2.2 mailbox full"),
    }.get(kind, ("5.0.0", "smtp; 500 unknown"))
    return {
        "bounceType": kind, "bounceSubType": subtype or "General", "timestamp": at,
        "bouncedRecipients": [{
            "emailAddress": event.message.recipient, "action": "failed", "status": status,
            "diagnosticCode": words,
        }],
        "feedbackId": str(uuid4()), "reportingMTA": "dsn; a1-1.smtp-out.amazonses.com",
    }  # fmt: skip


def mail(message: Accepted) -> dict[str, Any]:
    asked = parsed(message.call.body) if message.call.body else {}
    sender = asked.get("FromEmailAddress") or "nobody@shop.example"
    own = {"mid": message.own} if message.own else {}
    tags = {name: [value] for name, value in (own | tags_of(message)).items()}
    return {
        "timestamp": instant(message.at), "messageId": message.id, "source": sender,
        "sourceArn": f"arn:aws:ses:eu-west-1:123456789012:identity/{sender.rpartition('@')[2].rstrip('>')}",
        "sendingAccountId": "123456789012", "destination": [message.recipient], "headersTruncated": False,
        "headers": [{"name": "From", "value": sender}, {"name": "To", "value": message.recipient}],
        "commonHeaders": {"from": [sender], "to": [message.recipient], "messageId": message.id},
        "tags": {
            "ses:configuration-set": [asked.get("ConfigurationSetName") or "lab"],
            "ses:source-ip": ["192.0.2.0"], "ses:from-domain": [sender.rpartition("@")[2].rstrip(">")],
            "ses:caller-identity": ["lab"], **tags,
        },
    }  # fmt: skip


def instant(at: float) -> str:
    """Such as 2016-10-14T05:02:52.574Z."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
