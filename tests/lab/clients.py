"""The vendors' own clients, told where the lab is; and a webhook's end that keeps what it gets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import boto3
import httpx2
from botocore.config import Config
from sendgrid import SendGridAPIClient
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from lab.http_server import Answer, Asked, HttpServer

SESSION = boto3.Session()  # It has read the service's model by the second client.
ACCOUNT = "AC00000000000000000000000000000001"


def ses(url: str, key: str = "AKIALAB", secret: str = "lab-secret") -> Any:
    """Without its own retries."""
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5)
    keys = {"aws_access_key_id": key, "aws_secret_access_key": secret}
    return SESSION.client("sesv2", region_name="eu-west-1", endpoint_url=url, config=config, **keys)


def sendgrid(url: str, key: str = "SG.lab") -> Any:
    return SendGridAPIClient(key, host=url)


class Rerouted(TwilioHttpClient):  # type: ignore[misc]  # It has no types.
    """Twilio's client takes the host from no setting."""

    def __init__(self, url: str) -> None:
        super().__init__(timeout=5)
        self.lab = url

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super().request(method, url.replace("https://api.twilio.com", self.lab), *args, **kwargs)


def twilio(url: str, token: str = "lab-twilio") -> Any:
    return Client(ACCOUNT, token, http_client=Rerouted(url))


async def called(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a client that blocks answers, asked in a thread."""
    return await asyncio.to_thread(work, *args, **kwargs)


class Ear:
    """A webhook's end: keeps what it is sent, and answers as `reply` says."""

    def __init__(self) -> None:
        self.heard: list[Asked] = []
        self.reply: Callable[[Asked], Answer] = lambda asked: Answer(200)

    async def listen(self, asked: Asked) -> Answer:
        self.heard.append(asked)
        return self.reply(asked)


@asynccontextmanager
async def an_ear() -> AsyncIterator[tuple[Ear, str]]:
    ear = Ear()
    async with HttpServer(ear.listen) as server:
        yield ear, f"{server.url}/hook"


async def ask(method: str, url: str, **kwargs: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=10, verify=False) as client:
        return await client.request(method, url, **kwargs)
