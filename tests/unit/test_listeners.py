"""kernel/listeners.py, rules/listening.py and facts/listeners.py: who takes connections."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.facts.listeners import Heard, HeardPorts
from netfilter_exporter.kernel.errors import Malformed, ReadError
from netfilter_exporter.kernel.listeners import parse_listener, read_listeners
from netfilter_exporter.rules.detail import NO_FORM, NatTarget, RuleDetail
from netfilter_exporter.rules.families import BOTH, IPV4, TCP, UDP, Family, Hook
from netfilter_exporter.rules.listening import Listener, Listening, listening
from netfilter_exporter.rules.match import Field, ranged
from netfilter_exporter.rules.model import Action

V4, V6 = Family
TITLE = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt"
LOOPBACK = 127 << 24 | 1


def row(address, port, state="0A"):
    """Return a row of /proc/net/tcp or tcp6 as a little-endian host writes it."""
    return f"   0: {address}:{port:04X} {'0' * len(address)}:0000 {state} 00000000:00000000 00:0000"


TCP4 = [
    row("0100007F", 8080),
    row("00000000", 22),
    row("0100007F", 40000, "01"),
    row("00000000", 1),
]
TCP6 = [
    row("0" * 32, 80),
    row("0000000000000000FFFF00000100007F", 81),
    row("0" * 24 + "01000000", 82),
]


@pytest.fixture
def host(fake_host):
    """A host with sockets of both families."""
    made = fake_host("6.18/nat-nft")
    write(made, TCP4, TCP6)
    return made


def write(host, *rows, names=("tcp", "tcp6")):
    """Write the rows of both files."""
    for name, of_family in zip(names, rows):
        host.path(f"proc/net/{name}").write_text("\n".join((TITLE, *of_family, "")))


def test_sockets_that_listen_are_read(host):
    """Up to the first that does not; those of IPv6 may take IPv4 too."""
    assert list(read_listeners(host.paths, TCP)) == [
        Listener(V4, LOOPBACK, 8080),
        Listener(V4, 0, 22),
        Listener(V6, 0, 80),
        Listener(V4, 0, 80),
        Listener(V6, 0xFFFF << 32 | LOOPBACK, 81),
        Listener(V4, LOOPBACK, 81),
        Listener(V6, 1, 82),
    ]


def test_a_kernel_without_a_family_has_none(host):
    """A kernel without IPv6 has no file."""
    host.path("proc/net/tcp6").unlink()
    assert len(list(read_listeners(host.paths, TCP))) == 2


def test_sockets_that_take_datagrams_are_read(host):
    """Of anybody: a connected one hears its peer alone. With too many nothing is known."""
    connected, taking = row("0100007F", 53, "01"), row("0100007F", 54, "07")
    write(host, [connected, taking], [row("0" * 32, 55, "07")], names=("udp", "udp6"))
    found = [Listener(V4, LOOPBACK, 54), Listener(V6, 0, 55), Listener(V4, 0, 55)]
    assert list(read_listeners(host.paths, UDP)) == found
    write(host, [taking] * 4097, [], names=("udp", "udp6"))
    with pytest.raises(ReadError, match="more than 4096 sockets"):
        list(read_listeners(host.paths, UDP))


def test_too_many_sockets_are_not_read_again(host):
    """Not in each scrape."""
    snapshot, ports = Clock(host.paths), HeardPorts()
    wanted = AT_80._replace(protocol=UDP)
    write(host, [row("00000000", 1, "07")] * 4097, [], names=("udp", "udp6"))
    for _ in range(2):
        with pytest.raises(ReadError):
            ports.of(snapshot, wanted)
        write(host, [], [], names=("udp", "udp6"))
    snapshot.now += 300
    assert ports.of(snapshot, wanted) is Heard.NEVER


@given(st.binary())
def test_any_row_is_a_socket_or_an_error(line):
    """Nothing else comes out."""
    with contextlib.suppress(ReadError):
        assert isinstance(parse_listener(line, V4, "x"), (Listener, type(None)))


def test_a_short_row_is_malformed():
    """A line of another form is an error."""
    with pytest.raises(Malformed, match="2 columns"):
        parse_listener(b"0: 1:1", V4, "x")


def is_(field, *numbers):
    """Return a match on single numbers."""
    return ranged(field, [(number, number) for number in numbers])


TCP_80 = is_(Field.PROTOCOL, 6), is_(Field.DESTINATION_PORT, 80)
PRE = frozenset({Hook.PREROUTING})
REDIRECT, DNAT = Action.REDIRECT, Action.DNAT


def wanted(action, *matches, to=None, families=BOTH, at=PRE):
    """Return where a program must listen for a rule."""
    detail = RuleDetail(NO_FORM, b"")
    detail.__dict__.update(matches=matches, nat=to)
    return listening(families, action, detail, at)


ONE = (LOOPBACK, LOOPBACK)
AT_80 = Listening(BOTH, ((80, 80),), received=True)
RULES = {
    "the same port": (REDIRECT, TCP_80, None, AT_80),
    "another port": (REDIRECT, TCP_80, NatTarget(ports=(8, 9)), AT_80._replace(ports=((8, 9),))),
    "any port": (REDIRECT, TCP_80[:1], None, None),
    "any protocol": (REDIRECT, TCP_80[1:], None, None),
    "two protocols": (REDIRECT, (is_(Field.PROTOCOL, 6, 17), TCP_80[1]), None, None),
    "udp": (
        REDIRECT,
        (is_(Field.PROTOCOL, 17), TCP_80[1]),
        None,
        AT_80._replace(protocol=UDP),
    ),
    "another protocol": (REDIRECT, (is_(Field.PROTOCOL, 132), TCP_80[1]), None, None),
    "ports of a map": (REDIRECT, TCP_80, NatTarget(map="m", known=False), None),
    "one address": (DNAT, TCP_80, NatTarget(V4, ONE), Listening(IPV4, ((80, 80),), LOOPBACK, True)),
    "some addresses": (DNAT, TCP_80, NatTarget(V4, (LOOPBACK, LOOPBACK + 1)), None),
    "the port alone": (DNAT, TCP_80, NatTarget(ports=(8, 8)), None),
    "a source": (Action.SNAT, TCP_80, NatTarget(V4, ONE), None),
}


@pytest.mark.parametrize(("action", "matches", "to", "expected"), RULES.values(), ids=RULES)
def test_what_a_rule_needs(action, matches, to, expected):
    """TCP or UDP, at ports that are known, and at one address or at any of this host."""
    assert wanted(action, *matches, to=to) == expected


def test_what_is_sent_comes_by_loopback():
    """Only a rule that no packet of this host comes to is in vain with a socket of loopback."""
    sent = wanted(REDIRECT, *TCP_80, at=frozenset({Hook.PREROUTING, Hook.OUTPUT}))
    local = Listener(V4, LOOPBACK, 80)
    assert sent.is_heard_by(local)
    assert not AT_80.is_heard_by(local)
    assert not AT_80.is_heard_by(Listener(V6, 1, 80))
    assert AT_80.is_heard_by(Listener(V6, 0, 80))
    assert not AT_80._replace(families=IPV4).is_heard_by(Listener(V6, 0, 80))


def test_the_ports_are_named():
    """As rules write them."""
    assert AT_80._replace(ports=((80, 80), (8, 9))).what == "TCP port 80, 8-9"


class Clock:
    """A host's clock, and the snapshot that has it; each look takes a millisecond."""

    def __init__(self, paths):
        self.now, self.paths, self.system = 1000.0, paths, self

    def clock(self):
        """Each look takes a millisecond."""
        self.now += 0.001
        return self.now


def test_a_lost_program_is_known_for_a_day(host):
    """What never listened may be refused on purpose; sockets are read each five minutes."""
    snapshot, ports = Clock(host.paths), HeardPorts()
    ssh, other = (Listening(BOTH, ((port, port),), received=True) for port in (22, 23))

    def heard(seconds):
        snapshot.now += seconds
        return ports.of(snapshot, ssh), ports.of(snapshot, other)

    assert heard(0) == (Heard.NOW, Heard.NEVER)
    write(host, TCP4[:1], TCP6)
    assert heard(290) == (Heard.NOW, Heard.NEVER)
    assert heard(20) == (Heard.LOST, Heard.NEVER)
    write(host, TCP4, TCP6)
    assert heard(290) == (Heard.LOST, Heard.NEVER)
    assert heard(20) == (Heard.NOW, Heard.NEVER)
    write(host, [], [])
    assert heard(86401) == (Heard.NEVER, Heard.NEVER)
