"""A ruleset that is read in increments is the one that is read as a whole, whatever changes."""

import contextlib
import dataclasses
import http.client
import socket
import threading
import time
import typing

import pytest

from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.netlink.attributes import text
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import HEADER, NETLINK_NETFILTER, nfnetlink_map
from netfilter_exporter.kernel.netlink.transport import NetlinkSocket
from netfilter_exporter.kernel.nft import tables
from netfilter_exporter.kernel.nft.uapi import NFT_MSG_GETRULE, NFTA_RULE_CHAIN
from netfilter_exporter.kernel.rulesets import NftablesReader
from netfilter_exporter.kernel.system import System
from netfilter_exporter.rules.exemption import exempts_arriving
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.incoming import Incoming
from netfilter_exporter.rules.zones import zoned
from support.process import running
from support.ruleset_edits import Edits

ALL = 1 << 30
ADDRESS = ("127.0.0.1", 10043)
RULES = """
table ip t {
 chain a { oifname "wan0" masquerade; }
 chain b { ip daddr 192.0.2.1 accept; }
 chain c { type nat hook postrouting priority 100; jump a; jump b; }
}
"""


def new_reader():
    """Return a reader that listens, however many rules there are."""
    reader = NftablesReader()
    reader.listen_up_to(ALL)
    return reader


def read(reader, system):
    """Return what a reader reads now."""
    connection = Connection(system.netlink(NETLINK_NETFILTER), time.monotonic() + 60)
    with contextlib.closing(connection):
        return reader.read(system, connection, 1, lambda: 60.0)


def facts(found):
    """Return generation and facts by name; of whole tables what they say."""
    named = {**vars(found.facts), "generation": found.generation}
    passage, zoning = named.pop("passage"), named.pop("zoning")
    untracking = named.pop("untracking")
    incoming = [Incoming(family, "eth0", 2) for family in Family]
    named["blocks"] = [passage.block(each, None) for each in incoming]
    named["accepts"] = passage.accepts
    named["zoned"] = [zoned(zoning, each) for each in incoming]
    named["exempted"] = [exempts_arriving(untracking, each) for each in incoming]
    return named


# -- random edits --------------------------------------------------------------------------------


class Soaked(typing.NamedTuple):
    """What came of edits: how often all was read, edits that nft refused, and all of them."""

    whole: int
    refused: int
    made: int
    lost: int  #: how often messages were
    different: str = ""  #: when, and what, if anything


class Little(NetlinkSocket):
    """A socket whose buffer is the least that the kernel gives: a few messages fill it."""

    lost = 0  #: how often messages of it were

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    def receive(self, timeout):
        try:
            return super().receive(timeout)
        except ReadError as error:
            Little.lost += "No buffer space" in str(error)
            raise


def soak(seed, steps, edits_each=1, listen=NetlinkSocket):
    """Edit, and compare what is read in increments with a fresh reading; in a namespace."""
    system = dataclasses.replace(System(), listen=listen)
    edits, reader = Edits(seed), new_reader()
    whole, read_tables = [], tables.read_tables
    try:
        for step in range(steps):
            made = [edits.make() for _ in range(edits_each)]
            tables.read_tables = lambda *arguments: whole.append(1) or read_tables(*arguments)
            one = facts(read(reader, system))
            tables.read_tables = read_tables
            other = facts(read(NftablesReader(), system))
            different = [name for name, value in other.items() if one[name] != value]
            if different:
                what = f"seed {seed}, step {step}: {different}\n{made}"
                return Soaked(len(whole), edits.refused, edits.made, Little.lost, what)
    finally:
        tables.read_tables = read_tables
        edits.close()
        reader.forget()
    return Soaked(len(whole), edits.refused, edits.made, Little.lost)


@pytest.mark.timeout(1200)
def test_random_edits(namespace, pytestconfig):
    """After each the facts are those of a fresh reading, and most were read in increments."""
    steps = 5000 if pytestconfig.getoption("--every") else 240
    soaked = namespace.call(soak, 100, steps)
    assert not soaked.different
    assert soaked.whole < steps / 3
    assert soaked.refused < soaked.made / 2


@pytest.mark.timeout(1200)
def test_random_edits_of_which_messages_are_lost(namespace, pytestconfig):
    """The same where many a message finds no room."""
    steps = 1000 if pytestconfig.getoption("--every") else 30
    soaked = namespace.call(soak, 200, steps, 4, Little)
    assert not soaked.different
    assert soaked.lost > steps / 5
    assert soaked.whole < steps


def edit(edits, made):
    """Make a few edits."""
    for _ in range(4):
        made.append(edits.make())


def soak_beside(seed, rounds):
    """Edit and read at the same time, and compare when it has become quiet; in a namespace.

    No reading of all is tried but the one of a ruleset that never rests.
    """
    edits, reader, system = Edits(seed), new_reader(), System()
    caught_up, by_chain, hasty = [], tables.read_by_chain, tables._HASTY_ATTEMPTS
    tables.read_by_chain = lambda *arguments: caught_up.append(1) or by_chain(*arguments)
    try:
        for number in range(rounds):
            made = []
            thread = threading.Thread(target=edit, args=(edits, made))
            thread.start()
            tables._HASTY_ATTEMPTS = 0
            while thread.is_alive():
                with contextlib.suppress(ReadError):  # another table at each of its looks
                    read(reader, system)
            thread.join()
            one = facts(read(reader, system))
            tables._HASTY_ATTEMPTS = hasty
            other = facts(read(NftablesReader(), system))
            different = [name for name, value in other.items() if one[name] != value]
            if different:
                return len(caught_up), f"seed {seed}, round {number}: {different}\n{made}"
    finally:
        tables.read_by_chain, tables._HASTY_ATTEMPTS = by_chain, hasty
        edits.close()
        reader.forget()
    return len(caught_up), ""


@pytest.mark.timeout(1200)
def test_random_edits_while_it_reads(namespace, pytestconfig):
    """What is read while it changes is caught up with, in increments and from the beginning."""
    rounds = 500 if pytestconfig.getoption("--every") else 20
    caught_up, different = namespace.call(soak_beside, 300, rounds)
    assert not different
    assert caught_up > rounds / 10


# -- what is asked -------------------------------------------------------------------------------


class Asking(NetlinkSocket):
    """A socket that notes for which chains it asks."""

    asked: typing.ClassVar[list[str]] = []

    def send(self, datagram):
        if HEADER.unpack_from(datagram)[1] == NFT_MSG_GETRULE:
            found = nfnetlink_map(memoryview(datagram)[HEADER.size :])
            self.asked.append(text(found[NFTA_RULE_CHAIN]) if NFTA_RULE_CHAIN in found else "*")
        super().send(datagram)


_READER = new_reader()


def chains_asked():
    """Return the chains whose rules a reading asks for, "*" for all of a table; in a namespace."""
    Asking.asked.clear()
    read(_READER, dataclasses.replace(System(), netlink=Asking))
    return list(Asking.asked)


@pytest.mark.parametrize(
    ("change", "chains"),
    [
        ("add rule ip t a counter", ["a"]),
        ("insert rule ip t c counter", ["c"]),
        ("flush chain ip t b", ["b"]),
        ("add rule ip t a return\nadd rule ip t b return", ["a", "b"]),
        ("add chain ip t d\nadd rule ip t d accept\nadd rule ip t b jump d", ["b", "d"]),
        ("add chain ip t c { policy drop; }", []),
        ("add set ip t s { type mark; }\nadd element ip t s { 1 }", []),
        ("table ip o { chain p { type filter hook input priority 0; accept; }; }", []),
        ("table ip o { chain p { type nat hook postrouting priority 0; accept; }; }", ["p"]),
        ("rename chain ip t a z", ["*"]),
    ],
)
def test_a_change_asks_for_its_chains_alone(module_namespace, change, chains):
    """Not for others, and for all of a table only where no message says what has changed."""
    module_namespace.run("nft", "-f", "-", stdin=f"flush ruleset\n{RULES}")
    module_namespace.call(chains_asked)
    module_namespace.run("nft", "-f", "-", stdin=change)
    assert sorted(module_namespace.call(chains_asked)) == chains
    assert module_namespace.call(chains_asked) == []


@pytest.fixture(scope="module")
def module_namespace(module_namespaces):
    """A namespace for all of these, in which the ruleset has changed once."""
    made = module_namespaces()
    made.run("nft", "add table ip t")
    made.call(chains_asked)
    return made


# -- the process ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("flags", "listens"), [((), 1), (("--nft.listen-max-rules=2",), 0)])
def test_the_exporter_listens_while_it_serves(namespace, tmp_path, flags, listens):
    """Confined as it is; with fewer rules allowed than there are, it does not."""
    namespace.run("nft", "-f", "-", stdin=RULES)
    address = f"--web.listen-address={ADDRESS[0]}:{ADDRESS[1]}"
    inside = ("nsenter", f"--net=/run/netns/{namespace.name}")
    with running(tmp_path / "log", address, *flags, prefix=inside):
        for added in range(3):
            page = namespace.call(scrape)
            assert f'hook="postrouting",table="t"}} {2 + added}.0' in page
            namespace.run("nft", "add rule ip t c counter")
        groups = [line.split()[3] for line in namespace.call(netlink_sockets)]
    assert groups.count("00000040") == listens


def scrape():
    """Return the page; in a namespace."""
    client = http.client.HTTPConnection(*ADDRESS, timeout=20)
    with contextlib.closing(client):
        client.request("GET", "/metrics")
        return client.getresponse().read().decode()


def netlink_sockets():
    """Return the lines of /proc/net/netlink; in a namespace."""
    with open("/proc/thread-self/net/netlink", encoding="ascii") as file:
        return file.readlines()[1:]
