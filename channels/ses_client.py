"""boto3's client for SES without what gets in the way: it repeats nothing, and a bulk call brings its body.

boto3 walks through every value of a call to write it as JSON, which takes longer than everything else that is
done for a message. So a bulk call hands over its body, in one parameter, and boto3 signs and sends it.
"""

from functools import cache
from typing import Any

from channels.line import Patience

BODY = "Body"  # The parameter.


def make(
    *, region: str, key_id: str, secret: str, endpoint: str | None, connections: int, patience: Patience
) -> Any:
    """A client; it may be used from many threads."""
    import boto3  # Slow to load.
    import botocore.session
    from botocore.config import Config

    core = botocore.session.get_session()
    core.register_component("data_loader", _descriptions())
    session = boto3.session.Session(
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        region_name=region,
        botocore_session=core,
    )
    config = Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=patience.connect,
        read_timeout=patience.call - patience.connect,
        max_pool_connections=connections,
        parameter_validation=False,  # SES checks, too, and knows more.
    )
    client = session.client("sesv2", endpoint_url=endpoint, config=config)
    client.meta.events.register("before-parameter-build.sesv2.SendBulkEmail", _take)
    client.meta.events.register("before-call.sesv2.SendBulkEmail", _put)
    return client


@cache
def _descriptions() -> Any:
    """What botocore knows of services and endpoints. To read it takes a tenth of a second, so it is kept."""
    from botocore.loaders import create_loader

    return create_loader()


def _take(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context[BODY] = params.pop(BODY)


def _put(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    params["body"] = context[BODY]
    params["headers"]["Content-Type"] = "application/json"
