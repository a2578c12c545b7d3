"""kernel/netlink/connection.py: whole answers, or a clear error."""

import errno
import os
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.errors import (
    Malformed,
    ReadError,
    Status,
    TimedOut,
)
from netfilter_exporter.kernel.netlink.attributes import (
    NLA_TYPE_MASK,
    attribute_map,
    attributes,
    be32,
    pack,
    text,
)
from netfilter_exporter.kernel.netlink.connection import Connection, Interrupted
from netfilter_exporter.kernel.netlink.messages import (
    HEADER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    NLMSG_NOOP,
    NetlinkError,
    messages_of,
)
from support import wire
from support.script import connect, done, dumped

PAYLOADS = [b"aaaa", b"bbbbbbbb", b"cccc"]


def dump(connection, parse=bytes):
    """Dump what the script holds."""
    return connection.dump("test", 0x0A07, b"\0\0\0\0", parse)


# -- dumps ---------------------------------------------------------------------------------------


def test_a_dump_is_all_messages_in_order():
    """Messages of all datagrams are returned, as one list, whatever the padding."""
    connection, script = connect([dumped(b"aaaa", b"bbbbbbbb"), dumped(b"cccc"), done()])
    assert dump(connection) == PAYLOADS
    assert [request.flags for request in script.requests] == [NLM_F_REQUEST | NLM_F_DUMP]


@pytest.mark.parametrize(
    "interrupted",
    [
        [dumped(b"aaaa", flags=wire.NLM_F_MULTI | NLM_F_DUMP_INTR), dumped(b"bbbb"), done()],
        [dumped(b"aaaa"), dumped(b"bbbb"), done(NLM_F_DUMP_INTR)],
        [done(NLM_F_DUMP_INTR)],
    ],
    ids=["on a message", "on the end alone", "nothing left"],
)
def test_an_interrupted_dump_is_repeated(interrupted):
    """What was listed while it changed is thrown away and asked for again."""
    connection, script = connect(interrupted, [dumped(*PAYLOADS), done()])
    assert dump(connection) == PAYLOADS
    assert len(script.requests) == 2


def test_a_dump_that_is_always_interrupted_is_given_up():
    """After four attempts it is an error that says so, never a part of the list."""
    answers = [[dumped(bytes([n] * 4)), done(NLM_F_DUMP_INTR)] for n in range(9)]
    connection, script = connect(*answers)
    with pytest.raises(Interrupted, match="test: changed during each of 4 dumps"):
        dump(connection)
    assert len(script.requests) == 4


def test_what_two_interrupted_dumps_agree_on_is_so():
    """What changed was something else: of all that commits, the kernel tells no more."""
    torn = [dumped(b"aaaa"), done(NLM_F_DUMP_INTR)]
    whole = [dumped(*PAYLOADS), done(NLM_F_DUMP_INTR)]
    connection, script = connect(torn, whole, torn, torn)
    assert dump(connection) == [b"aaaa"]
    assert len(script.requests) == 4


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL, errno.ENOENT])
def test_an_error_at_the_end_of_a_dump_spoils_it(number):
    """Since 4.20 the message that ends a dump may carry the error that ended it."""
    connection, _ = connect([dumped(b"aaaa"), done(number=number)])
    with pytest.raises(NetlinkError) as caught:
        dump(connection)
    assert caught.value.errno == number


def test_a_dump_that_ends_without_end_times_out():
    """A lost end is no end."""
    connection, _ = connect([dumped(b"aaaa")])
    with pytest.raises(TimedOut):
        dump(connection)


def test_the_rest_of_a_dump_is_taken_when_its_parser_fails():
    """The kernel refuses a dump while another runs, so the next question starts with none."""
    connection, script = connect([dumped(b"aaaa"), dumped(b"bbbb"), done()])

    def fail(payload):
        raise Malformed(f"no: {bytes(payload)!r}")

    with pytest.raises(Malformed, match="aaaa"):
        dump(connection, fail)
    assert len(script.timeouts) == 3


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.EPERM, Status.DENIED),
        (errno.EACCES, Status.DENIED),
        (errno.EINVAL, Status.ERROR),
        (errno.EBUSY, Status.ERROR),
    ],
)
def test_a_refusal_has_a_status_and_the_kernels_reason(number, status):
    """A missing capability is told from a fault, and the text names what was asked."""
    connection, _ = connect([wire.error(number)])
    with pytest.raises(NetlinkError, match=r"^test: ") as caught:
        dump(connection)
    assert (caught.value.errno, caught.value.status) == (number, status)
    assert os.strerror(number) in str(caught.value)


@given(st.integers(-5000, 5) | st.integers(-(1 << 31), (1 << 31) - 1))
@example(-(1 << 31))
def test_any_error_number_is_an_error_or_none(number):
    """No number in an error message makes anything but an answer or a ReadError."""
    body = struct.pack("=i", number) + bytes(HEADER.size)
    connection, _ = connect([wire.message(NLMSG_ERROR, 0, body)])
    if number < 0:
        with pytest.raises(NetlinkError if number >= -4095 else Malformed):
            connection.command("test", 1, b"")
    else:
        connection.command("test", 1, b"")


def test_an_error_without_a_number_is_malformed():
    """An error message that is cut proves neither success nor failure."""
    connection, _ = connect([wire.message(NLMSG_ERROR, 0, b"\0\0")])
    with pytest.raises(Malformed, match="without a number"):
        connection.command("test", 1, b"")


# -- single questions ----------------------------------------------------------------------------


def test_a_question_takes_the_first_answer():
    """ctnetlink marks single answers as part of several and never ends them: none is waited for."""
    connection, script = connect([dumped(b"aaaa")])
    assert bytes(connection.ask("test", 1, b"")) == b"aaaa"
    assert script.requests[0].flags == NLM_F_REQUEST
    assert len(script.timeouts) == 1


def test_a_mere_acknowledgement_is_no_answer():
    """A question that is answered with success and nothing else has no value."""
    connection, _ = connect([wire.error(0)])
    with pytest.raises(Malformed, match="test: an empty answer"):
        connection.ask("test", 1, b"")


def test_a_command_waits_for_its_acknowledgement():
    """A command asks to be acknowledged, and is done when it is."""
    connection, script = connect([wire.error(0)])
    connection.command("test", 1, b"")
    assert script.requests[0].flags == NLM_F_REQUEST | NLM_F_ACK


def test_answers_to_another_question_are_passed_by():
    """What is left of a request that was given up is not taken for the answer to the next."""
    stale = wire.with_sequence(dumped(b"old!"), 0xDEAD)
    connection, _ = connect([lambda _: stale, dumped(b"new!")])
    assert bytes(connection.ask("test", 1, b"")) == b"new!"


def test_an_old_error_is_passed_by():
    """Nor is its failure."""
    stale = wire.with_sequence(wire.error(errno.EPERM), 0xDEAD)
    connection, _ = connect([lambda _: stale, dumped(b"new!"), done()])
    assert dump(connection) == [b"new!"]


def test_control_messages_are_no_data():
    """NLMSG_NOOP, and what else is below NLMSG_MIN_TYPE, is neither data nor an end."""
    noop = wire.message(NLMSG_NOOP, 0, b"")
    connection, _ = connect([noop + dumped(b"aaaa"), done()])
    assert dump(connection) == [b"aaaa"]


# -- time ----------------------------------------------------------------------------------------


def test_no_question_outlives_the_deadline():
    """An endless answer ends when the time is up, also while the kernel keeps talking."""
    clock = iter(range(100))
    _, script = connect([dumped(b"aaaa")] * 100)
    connection = Connection(script, deadline=5.0, clock=lambda: float(next(clock)))
    with pytest.raises(TimedOut, match="out of time"):
        dump(connection)
    assert script.timeouts == [5.0, 4.0, 3.0, 2.0, 1.0]


# -- bytes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(1, HEADER.size + 4))
def test_a_cut_datagram_is_malformed(cut):
    """A message that claims more bytes than there are, or less than a header, has no value."""
    datagram = dumped(b"aaaa")[:-cut]
    connection, _ = connect([lambda _: datagram, done()])
    with pytest.raises(Malformed, match=r"^test: "):
        dump(connection)


@given(st.binary(max_size=200), st.sampled_from([0, 1, 0x01010101]))
def test_any_datagram_is_messages_or_malformed(datagram, wanted):
    """No bytes make anything but messages within them, or a ReadError."""
    try:
        messages = list(messages_of(memoryview(datagram), wanted, "test"))
    except ReadError:
        return
    assert sum(HEADER.size + len(payload) for *_, payload in messages) <= len(datagram)


@given(st.binary(max_size=200), st.integers(0, 210))
def test_any_attributes_are_values_or_malformed(payload, start):
    """No bytes make anything but attributes within them, or a ReadError."""
    try:
        found = list(attributes(memoryview(payload), start))
    except ReadError:
        return
    assert all(0 <= type_ <= NLA_TYPE_MASK for type_, _ in found)
    assert sum(4 + len(value) for _, value in found) <= max(len(payload) - start, 0)


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=9)), max_size=5))
def test_packed_attributes_are_read_back(pairs):
    """What is packed is found again, padding left out."""
    payload = b"".join(pack(type_, value) for type_, value in pairs)
    assert len(payload) % 4 == 0
    assert [(t, bytes(v)) for t, v in attributes(memoryview(payload))] == pairs


@given(st.binary(max_size=40))
def test_any_bytes_make_a_name(value):
    """A name ends at the first NUL and keeps its bytes, also where they are no UTF-8."""
    name = text(memoryview(value))
    assert names.encode(name) == value.split(b"\0", 1)[0]
    assert "\0" not in name


def test_a_missing_attribute_is_malformed():
    """An attribute that the kernel promises and does not give is an error that names it."""
    with pytest.raises(Malformed, match="attribute 7 is missing"):
        attribute_map(memoryview(b""))[7]


@pytest.mark.parametrize("size", [0, 2, 3, 5, 8])
def test_a_number_of_another_size_is_malformed(size):
    """Four bytes are a number, any other count is none."""
    with pytest.raises(Malformed, match=f"{size} bytes"):
        be32(memoryview(bytes(size)))
