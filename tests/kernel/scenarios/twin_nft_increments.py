import contextlib
import time

from lab.scenario import Scenario
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER
from netfilter_exporter.kernel.nft import tables
from netfilter_exporter.kernel.rulesets import NftablesReader, life
from netfilter_exporter.kernel.system import System
from scenarios._hosts import nft_nat, working

#: What each kernel sends messages about; after those that are marked all is read.
EDITS = (
    "add table ip t",  # all: it listens from the first change on
    "add chain ip t c { type nat hook postrouting priority 90; }",
    "add chain ip t a",
    'add rule ip t a oifname "none" masquerade',
    "add rule ip t c jump a",
    "insert rule ip t c counter",
    "add chain ip t b",
    "add rule ip t b return",
    "add map ip t m { type inet_service : verdict; }",
    "add element ip t m { 80 : jump a }",
    "add rule ip t c tcp dport vmap @m",
    "add element ip t m { 81 : jump b }",
    "delete element ip t m { 80 }",
    "add rule ip t c tcp dport vmap { 1 : jump a, 2 : jump b }",
    "rename chain ip t b z",  # all
    "add rule ip t z drop",
    "add chain ip t c { policy drop; }",
    "add chain ip t c { policy accept; }",
    "add set ip t s { type mark; }\nadd element ip t s { 1 }",
    "add table ip t { flags dormant; }",
    "add table ip t",
    "table inet u { chain f { type filter hook forward priority 0; policy drop; }; }",
    "delete table inet u",
    "flush chain ip t c",
    "delete map ip t m",
    "delete chain ip t z",
    "delete table ip t\nadd table ip t",
    "flush ruleset",
)


def check(router):
    """Compare what is read in increments with a fresh reading; unload nf_tables meanwhile."""
    reader, whole, read_tables = NftablesReader(), [], tables.read_tables
    reader.listen_up_to(1000)
    wrong = []
    facts(reader)
    for edit in EDITS:
        router.nft(edit)
        tables.read_tables = lambda *arguments: whole.append(1) or read_tables(*arguments)
        found = facts(reader)
        tables.read_tables = read_tables
        if found != facts(NftablesReader()):
            wrong.append(f"other facts after: {edit}")
    if len(whole) != 2:
        wrong.append(f"{len(whole)} readings of all")
    router.unload_all()
    if "nf_tables" in router.modules():
        wrong.append("nf_tables cannot be removed while somebody listens")
    nft_nat(router)
    if facts(reader) != facts(NftablesReader()):
        wrong.append("other facts in the next life of nf_tables")
    reader.forget()
    return wrong


def facts(reader):
    """Return all that is read, but for whole tables."""
    system = System()
    connection = Connection(system.netlink(NETLINK_NETFILTER), time.monotonic() + 60)
    with contextlib.closing(connection):
        found = reader.read(system, connection, life(Paths()), lambda: 60.0)
    return {**vars(found.facts), "passage": None, "generation": found.generation}


SCENARIO = Scenario(
    about="Rules are read in increments: after each kind of change they are those of the kernel.",
    setup=nft_nat,
    works={"out": (True, True)},
    before=working("nftables"),
    after=working("nftables"),
    check=check,
    needs_boot=True,
)
