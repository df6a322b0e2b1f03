"""Frames are the same however the network cuts them."""

import asyncio
from itertools import pairwise

import pamqp.frame
import pytest
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from shared.frames import Frames

deliveries = st.builds(
    Basic.Deliver,
    consumer_tag=st.text("abc", min_size=1),
    delivery_tag=st.integers(1, 2**63 - 1),
    redelivered=st.booleans(),
    exchange=st.just("trustlens.events"),
    routing_key=st.just("score_updated"),
)
headers = st.builds(
    lambda size, id_: ContentHeader(body_size=size, properties=Basic.Properties(message_id=id_)),
    st.integers(0, 2**63 - 1),
    st.text("abc-", min_size=1),
)
bodies = st.builds(ContentBody, st.binary(min_size=1, max_size=3000))
sent = st.lists(st.tuples(deliveries | headers | bodies | st.just(Heartbeat()), st.integers(1, 2047)))


async def came(pieces: list[bytes]) -> list[tuple[int, int, object]]:
    """What is read of a connection that brings these and is lost then."""
    stream = asyncio.StreamReader()
    frames = Frames(stream)
    found = []

    async def read() -> None:
        async for frame in frames:
            found.append(frame)  # noqa: PERF401  # the end comes as an error

    reading = asyncio.create_task(read())
    for piece in pieces:
        stream.feed_data(piece)
        await asyncio.sleep(0)
    stream.feed_eof()
    with pytest.raises(AMQPConnectionError):
        await reading
    return found


@given(sent, st.data())
def test_frames_are_read_as_they_were_sent_wherever_they_are_cut(
    sent: list[tuple[pamqp.frame.FrameTypes, int]], data: st.DataObject
) -> None:
    whole = b"".join(pamqp.frame.marshal(frame, channel) for frame, channel in sent)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=10).map(sorted))
    pieces = [whole[begin:end] for begin, end in pairwise([0, *cuts, len(whole)]) if begin < end]
    found = asyncio.run(came(pieces))
    assert b"".join(pamqp.frame.marshal(frame, channel) for _, channel, frame in found) == whole  # type: ignore[arg-type]


async def test_what_is_no_frame_ends_the_connection() -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(b"\x01\x00\x01\x00\x00\x00\x01?!")
    with pytest.raises(InvalidFrameError):
        await anext(Frames(stream))
