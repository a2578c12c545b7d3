"""kernel/conntrack: entries as the kernel writes them, from both of its interfaces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.conntrack import flow_lines, flow_messages
from netfilter_exporter.kernel.conntrack.flow import TCP_STATES, Flow, Kind, Translated
from netfilter_exporter.kernel.errors import Malformed, ReadError
from netfilter_exporter.kernel.netlink.attributes import nest, pack
from netfilter_exporter.rules.families import Family
from support.flows import entry, packed, tuple_of

TCP, UDP, ICMP, GRE, ESP = 6, 17, 1, 47, 50
SEEN_REPLY, ASSURED, CONFIRMED, OFFLOAD = 2, 4, 8, 1 << 14

#: What follows the two tuples, as v5.6 and later write it, and as earlier kernels did.
NEW_ORDER = ("zone", "status", "mark", "id", "use", "timeout", "protoinfo", "counters")
OLD_ORDER = ("status", "zone", "timeout", "counters", "protoinfo", "mark", "id", "use")


def protocol_attributes(number, ends):
    """Return the attributes of CTA_TUPLE_PROTO; `ends` are two ports, or an id of ICMP."""
    found = pack(1, bytes([number]))
    if number in {TCP, UDP, GRE}:
        return found + pack(2, ends[0]) + pack(3, ends[1])
    if number == ICMP:
        return found + pack(4, ends[0]) + pack(5, b"\x08") + pack(6, b"\0")
    return found


def written(flow, order):
    """Return the payload of a drawn flow with its attributes in an order."""
    number, status = flow["protocol"], flow["status"]
    original, reply = (
        tuple_of(type_, *flow[side], protocol_attributes(number, flow[f"{side}_ends"]), zone)
        for type_, side, zone in ((1, "original", flow["zone"]), (2, "reply", b""))
    )
    parts = {
        "zone": pack(18, flow["zone"]) if flow["zone"] else b"",
        "status": pack(3, status.to_bytes(4, "big")),
        "mark": pack(8, flow["mark"]) if flow["mark"] is not None else b"",
        "id": pack(12, flow["id"]),
        "use": pack(11, b"\0\0\0\1"),
        "timeout": b"" if status & OFFLOAD else pack(7, b"\0\0\0\x1e"),
        "protoinfo": nest(4, nest(1, pack(1, bytes([flow["state"]])), pack(2, b"\7")))
        if number == TCP and not status & OFFLOAD
        else b"",
        "counters": nest(9, pack(1, bytes(8)), pack(2, bytes(8))) if flow["counters"] else b"",
    }
    return entry(flow["family"].nfproto, original, reply, b"".join(parts[name] for name in order))


@st.composite
def flows(draw):
    """Draw the facts of an entry."""
    family = draw(st.sampled_from(Family))
    size = 4 if family is Family.IPV4 else 16
    address = st.binary(min_size=size, max_size=size)
    port = st.binary(min_size=2, max_size=2)
    flow = {
        "family": family,
        "protocol": draw(st.sampled_from([TCP, UDP, ICMP, GRE, ESP])),
        "status": draw(st.integers(0, (1 << 16) - 1)),
        "zone": draw(st.sampled_from([b"", b"\0\7"])),
        "mark": draw(st.none() | st.binary(min_size=4, max_size=4)),
        "id": draw(st.binary(min_size=4, max_size=4)),
        "state": draw(st.integers(0, len(TCP_STATES) - 1)),
        "counters": draw(st.booleans()),
        "original": (draw(address), draw(address)),
        "original_ends": (draw(port), draw(port)),
    }
    mirrored = draw(st.booleans())
    flow["reply"] = flow["original"][::-1] if mirrored else (draw(address), draw(address))
    flow["reply_ends"] = flow["original_ends"]
    if flow["protocol"] != ICMP:
        flow["reply_ends"] = flow["original_ends"][::-1]
    return flow


def expected(flow):
    """Return the flow that has to come of it."""
    number, status = flow["protocol"], flow["status"]
    offloaded = bool(status & OFFLOAD)
    replied, assured = bool(status & SEEN_REPLY), bool(status & ASSURED)
    if number == TCP and not offloaded:
        state = TCP_STATES[flow["state"]]
    else:
        state = "assured" if assured else "replied" if replied else "unreplied"
    word = {TCP: "tcp", UDP: "udp", ICMP: "icmp"}.get(number, "other")
    kind = Kind(flow["family"], word, state, offloaded, replied)
    (source, destination), (answering, answered) = flow["original"], flow["reply"]
    changed = (answered != source, answering != destination)
    translated = {
        (False, False): Translated.NONE,
        (True, False): Translated.SOURCE,
        (False, True): Translated.DESTINATION,
        (True, True): Translated.BOTH,
    }[changed]
    port = int.from_bytes(flow["reply_ends"][0], "big") if number in {TCP, UDP} else None
    return Flow(kind, source, answering, port, translated)


@given(flow=flows(), order=st.sampled_from([NEW_ORDER, OLD_ORDER]))
def test_an_entry_of_ctnetlink_is_what_was_written(flow, order):
    """Of each family, protocol and state, with and without a zone, in the order of each kernel."""
    found = flow_messages.parse_flow(flow_messages.parse_entry(memoryview(written(flow, order))))
    assert found == expected(flow)


@given(flow=flows())
def test_the_order_of_attributes_changes_nothing(flow):
    """The entry that the expression finds is the one that walking the attributes finds."""
    new, old = (
        flow_messages.parse_entry(memoryview(written(flow, order)))
        for order in (NEW_ORDER, OLD_ORDER)
    )
    assert new == old


@given(flow=flows())
def test_the_expression_finds_what_new_kernels_write(flow):
    """Walking is for old kernels: it would take the time of ten."""
    assert flow_messages._ENTRY.match(written(flow, NEW_ORDER))


@given(
    flow=flows(),
    order=st.sampled_from([NEW_ORDER, OLD_ORDER]),
    cut=st.integers(0, 400),
    place=st.integers(0, 400),
    byte=st.integers(0, 255),
)
def test_damaged_entries_raise_a_read_error_at_most(flow, order, cut, place, byte):
    """Whatever arrives, it is parsed or it is a `ReadError`."""
    damaged = bytearray(written(flow, order))
    if place < len(damaged):
        damaged[place] = byte
    try:
        reading = flow_messages.reading([memoryview(bytes(damaged))[:cut]], complete=True)
        for index in range(len(reading.keys)):
            reading.flow(index)
    except ReadError:
        pass


def test_a_census_counts_every_entry():
    """Entries that differ in what is not counted are of one kind."""
    one = {
        "family": Family.IPV4,
        "protocol": UDP,
        "status": CONFIRMED,
        "zone": b"",
        "mark": None,
        "id": b"abcd",
        "state": 0,
        "counters": False,
        "original": (packed("10.0.0.2"), packed("198.51.100.1")),
        "original_ends": (b"\x10\0", b"\0\x35"),
        "reply": (packed("198.51.100.1"), packed("203.0.113.1")),
        "reply_ends": (b"\0\x35", b"\x10\0"),
    }
    other = {**one, "id": b"abce", "mark": b"\0\0\0\1"}
    answered = {**one, "id": b"abcf", "status": CONFIRMED | SEEN_REPLY}
    payloads = [memoryview(written(flow, NEW_ORDER)) for flow in (one, other, answered)]
    reading = flow_messages.reading(payloads, complete=False)
    assert reading.census == {
        Kind(Family.IPV4, "udp", "unreplied", offloaded=False, replied=False): 2,
        Kind(Family.IPV4, "udp", "replied", offloaded=False, replied=True): 1,
    }
    assert len(set(reading.keys)) == 3
    assert reading.flow(0).translated is Translated.SOURCE
    assert not reading.complete


V4 = Family.IPV4
LINES = {
    # 4.14
    "ipv4     2 udp      17 23 src=127.0.0.1 dst=127.0.0.1 sport=58777 dport=9100 src=127.0.0.1"
    " dst=127.0.0.1 sport=9100 dport=58777 mark=0 zone=0 use=2": (
        Kind(V4, "udp", "replied", offloaded=False, replied=True),
        "127.0.0.1", "127.0.0.1", 9100, Translated.NONE,
    ),
    "ipv4     2 udp      17 29 src=10.0.0.2 dst=198.51.100.2 sport=48261 dport=53 [UNREPLIED]"
    " src=198.51.100.2 dst=198.51.100.1 sport=53 dport=48261 mark=0 zone=0 use=2": (
        Kind(V4, "udp", "unreplied", offloaded=False, replied=False),
        "10.0.0.2", "198.51.100.2", 53, Translated.SOURCE,
    ),
    # 6.1
    "ipv4     2 tcp      6 118 TIME_WAIT src=198.51.100.2 dst=198.51.100.1 sport=39974 dport=8080"
    " src=10.77.0.2 dst=198.51.100.2 sport=80 dport=39974 [ASSURED] mark=0 zone=0 use=2": (
        Kind(V4, "tcp", "time_wait", offloaded=False, replied=True),
        "198.51.100.2", "10.77.0.2", 80, Translated.DESTINATION,
    ),
    # With nf_conntrack_acct, a zone of one direction and a security context.
    "ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.2 dst=192.0.2.9 sport=1 dport=2"
    " zone-orig=7 packets=3 bytes=180 src=10.0.0.9 dst=203.0.113.1 sport=2 dport=4097 packets=2"
    " bytes=120 [ASSURED] mark=1 secctx=system_u:object_r:t:s0 zone=9 delta-time=3 use=2": (
        Kind(V4, "tcp", "established", offloaded=False, replied=True),
        "10.0.0.2", "10.0.0.9", 2, Translated.BOTH,
    ),
    "ipv4     2 tcp      6 src=10.0.0.2 dst=192.0.2.9 sport=1 dport=2 src=192.0.2.9"
    " dst=203.0.113.1 sport=2 dport=1 [OFFLOAD] mark=0 zone=0 use=3": (
        Kind(V4, "tcp", "assured", offloaded=True, replied=True),
        "10.0.0.2", "192.0.2.9", 2, Translated.SOURCE,
    ),
    "ipv4     2 icmp     1 29 src=10.0.0.2 dst=192.0.2.9 type=8 code=0 id=77 [UNREPLIED]"
    " src=192.0.2.9 dst=10.0.0.2 type=0 code=0 id=77 mark=0 zone=0 use=2": (
        Kind(V4, "icmp", "unreplied", offloaded=False, replied=False),
        "10.0.0.2", "192.0.2.9", None, Translated.NONE,
    ),
    "ipv4     2 gre      47 29 timeout=30, stream_timeout=180 src=10.0.0.2 dst=192.0.2.9"
    " srckey=0x0 dstkey=0x1 [UNREPLIED] src=192.0.2.9 dst=203.0.113.1 srckey=0x1 dstkey=0x0"
    " mark=0 zone=0 use=2": (
        Kind(V4, "other", "unreplied", offloaded=False, replied=False),
        "10.0.0.2", "192.0.2.9", None, Translated.SOURCE,
    ),
    "ipv4     2 unknown  50 599 src=10.0.0.2 dst=192.0.2.9 [UNREPLIED] src=192.0.2.9"
    " dst=10.0.0.2 mark=0 zone=0 use=2": (
        Kind(V4, "other", "unreplied", offloaded=False, replied=False),
        "10.0.0.2", "192.0.2.9", None, Translated.NONE,
    ),
    "ipv6     10 tcp      6 117 SYN_SENT src=fd00:0000:0000:0000:0000:0000:0000:0002"
    " dst=2001:0db8:0000:0000:0000:0000:0000:0001 sport=1 dport=443 [UNREPLIED]"
    " src=2001:0db8:0000:0000:0000:0000:0000:0001 dst=fd00:0000:0000:0000:0000:0000:0000:0002"
    " sport=443 dport=1 mark=0 zone=0 use=2": (
        Kind(Family.IPV6, "tcp", "syn_sent", offloaded=False, replied=False),
        "fd00::2", "2001:db8::1", 443, Translated.NONE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_a_line_of_procfs_is_understood(line):
    """Each protocol and mark, as kernels write them."""
    kind, source, destination, port, translated = LINES[line]
    reading = flow_lines.reading(f"{line}\n".encode(), complete=True)
    expected_flow = Flow(kind, packed(source), packed(destination), port, translated)
    assert reading.flow(0) == expected_flow
    assert reading.census == {kind: 1}


def test_lines_are_read_together():
    """None is lost, and each is known by another key."""
    content = "".join(f"{line}\n" for line in LINES).encode()
    reading = flow_lines.reading(content, complete=False)
    assert len(set(reading.keys)) == len(LINES) == sum(reading.census.values())


def test_the_same_tuple_in_another_zone_is_another_flow():
    """Zones are part of what a flow is known by."""
    line = next(iter(LINES))
    content = f"{line}\n{line.replace('zone=0', 'zone=4')}\n".encode()
    assert len(set(flow_lines.reading(content, complete=True).keys)) == 2


@pytest.mark.parametrize("line", [b"ipv4 nonsense\n", b"\n", b"ipv5     2 udp      17 1 src=1\n"])
def test_a_line_that_is_not_understood_names_no_flow(line):
    """An error goes to the log, and a log holds no address."""
    with pytest.raises(Malformed) as caught:
        flow_lines.reading(line, complete=True)
    assert "src" not in str(caught.value)


@given(content=st.text(st.sampled_from("ipv46 srcdst=.:[]0123456789\nmarkzone"), max_size=300))
def test_any_text_raises_a_read_error_at_most(content):
    """Whatever the file holds, it is parsed or it is a `ReadError`."""
    try:
        reading = flow_lines.reading(content.encode(), complete=True)
        for index in range(len(reading.keys)):
            reading.flow(index)
    except ReadError:
        pass
