"""What a client sends, read to its end and no further than we take."""

import asyncio
import zlib
from collections.abc import Mapping

from starlette.types import Receive

LARGEST_CALL = 65_536  # Bytes of a body with one call, after it was unpacked.
LARGEST_BATCH = 2_000_000
MOST_EVENTS = 1_000  # In a batch.


class TooLarge(Exception):
    """More was sent than we read."""


class Garbled(Exception):
    """It can't be unpacked."""


class Unknown(Exception):
    """It is packed in a way that we don't know."""


class TooSlow(Exception):
    """Its end did not come in time."""


class Crowded(Exception):
    """Bodies that are not whole yet hold all that they may hold together."""


class HungUp(Exception):
    """The client left in the middle of it: nobody waits for an answer."""


class Pieces:
    """Bodies that come in several pieces. Who sends them may be nobody we know: the key can be at the end."""

    def __init__(self, seconds: float, room: int) -> None:
        """`seconds` is how long one may take from its first piece on, and `room` how many bytes those that
        are not whole may hold in this process together."""
        self._seconds, self._room = seconds, room
        self._held = 0

    async def rest(self, kind: str, body: bytes, receive: Receive, most: int) -> bytes:
        """All of which `body`, from a message of this kind, is the first piece. Raises what is above."""
        whole, piece, more = bytearray(), body, True
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    whole += piece
                    self._held += len(piece)
                    if len(whole) > most:
                        raise TooLarge
                    if not more:
                        return bytes(whole)
                    if self._held > self._room:
                        raise Crowded
                    if kind == "http.disconnect":
                        raise HungUp
                    message = await receive()
                    kind = message["type"]
                    piece = message.get("body", b"")
                    more = message.get("more_body", False) or kind == "http.disconnect"
        except TimeoutError:
            raise TooSlow from None
        finally:
            self._held -= len(whole)


async def body_of(headers: Mapping[bytes, bytes], receive: Receive, most: int, pieces: Pieces) -> bytes:
    """The body, unpacked, of at most so many bytes. Raises what is above."""
    announced = headers.get(b"content-length", b"")
    size = int(announced[:20]) if announced.isdigit() else -1
    if size > most:
        raise TooLarge
    message = await receive()
    body: bytes = message.get("body", b"")
    # The last message is seldom said to be the last: to ask for one more would only wake us again.
    if len(body) != size and (message.get("more_body", False) or message["type"] == "http.disconnect"):
        body = await pieces.rest(message["type"], body, receive, most)
    if len(body) > most:
        raise TooLarge
    packed = headers.get(b"content-encoding")
    return body if packed is None else _unpacked(body, packed, most)


def _unpacked(body: bytes, packed: bytes, most: int) -> bytes:
    """Never more than `most` bytes are in memory, however well it was packed."""
    match packed.strip().lower():
        case b"identity" | b"":
            return body
        case b"gzip" | b"x-gzip":
            pass
        case _:
            raise Unknown
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise Garbled(str(error)) from None
    if len(plain) > most:
        raise TooLarge
    if not unpacker.eof or unpacker.unused_data:
        raise Garbled("it does not end where it should")
    return plain
