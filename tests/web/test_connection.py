"""web/connection.py: what is due when the connection is gone already."""

import asyncio
from unittest import mock

from netfilter_exporter.web.connection import Connection, Limits
from netfilter_exporter.web.http import Response

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class ConnectionRegistry:
    """A server of one peer."""

    def __init__(self, application):
        self.application = application
        self.limits = Limits()
        self.stopping = False
        self.receive_buffer = memoryview(bytearray(4096))
        self.known = set()

    def idle(self, peer):
        self.known.add(peer)

    busy = idle

    def closed(self, peer):
        self.known.discard(peer)


def receive(peer, data):
    peer.get_buffer(-1)[: len(data)] = data
    peer.buffer_updated(len(data))


def lose_with(application, *data):
    """Have a peer receive `data`, and lose its connection before anything else can happen."""

    async def run():
        keeper = ConnectionRegistry(application)
        peer, transport = Connection(keeper), mock.Mock(spec=asyncio.Transport)
        peer.connection_made(transport)
        for part in data:
            receive(peer, part)
        written = transport.write.call_count
        peer.connection_lost(None)
        for _ in range(5):
            await asyncio.sleep(0)
        assert transport.write.call_count == written
        assert keeper.known == set()
        return written

    return asyncio.run(run())


def test_requests_that_wait_in_line_are_dropped():
    """Of two requests in one segment the second is not answered to nobody."""
    assert lose_with(lambda _: Response(200, b""), GET + GET) == 1


def test_an_answer_that_is_ready_is_dropped():
    """A collection may end in the same moment in which the connection does."""

    def answer(_):
        future = asyncio.get_running_loop().create_future()
        future.set_result(Response(200, b""))
        return future

    assert lose_with(answer, GET) == 0


def test_an_answer_that_is_not_ready_is_cancelled():
    """Nobody is going to fetch it."""
    futures = []

    def answer(_):
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    assert lose_with(answer, GET) == 0
    assert futures[0].cancelled()
