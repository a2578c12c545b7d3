"""Gateways whose new connections are sampled, and what is true of them."""

from __future__ import annotations

from typing import Any

from lab.scenario import DENSE, SPARSE, AtLeast, Difference, Rises, Still
from scenarios._hosts import NFT_MASQUERADE, probed

#: Looks every second, and as long as they take: an emulated CPU is not to be spared. A page of the
#: lab stands for 15 s, and takes about half a second.
CONFIG = """
flows: {interval: 1, cpu_permille: 1000}
"""

UNTRANSLATED = frozenset({"NetfilterNatUntranslated"})
#: Fires with the former, which inhibits it.
IDLE = frozenset({"NetfilterNatIdle"})
UNANSWERED = frozenset({"NetfilterNatUnanswered"})


COUNTED_MASQUERADE = NFT_MASQUERADE.replace("masquerade", "counter masquerade")


def gateway(router: Any) -> None:
    """An nftables gateway before several hosts, which counts what it translates.

    Its table is dense or sparse, see `Scenario`.
    """
    population(router)
    router.nft(COUNTED_MASQUERADE)


def population(router: Any) -> None:
    """Several hosts of the LAN, and a table that is dense or sparse, see `Scenario`."""
    router.population()
    probed(router)
    # The running kernel's table is others' too: whoever asks for a dense one has resized it.
    if router.emulated:
        resize(router, DENSE if router.dense else SPARSE)


def resize(router: Any, buckets: int) -> None:
    """Give the table so many buckets, and a limit that suits them."""
    router.sysctl("net.netfilter.nf_conntrack_buckets", buckets)
    router.sysctl("net.netfilter.nf_conntrack_max", 8 * buckets)


#: In place of masquerade.
SNAT = """
flush chain ip nat postrouting
add rule ip nat postrouting oifname "wan" counter snat to 203.0.113.30
"""


def births(translated: str, replied: str) -> str:
    """Return the selector of new outbound connections."""
    labels = f'family="ipv4",scope="outbound",translated="{translated}",replied="{replied}"'
    return f"flows_new_total{{{labels}}}"


def sources(translated: str, replied: str) -> str:
    """Return the selector of their sources."""
    return births(translated, replied).replace("flows_new_total", "flow_birth_sources")


#: What source NAT rules have matched, and how many of them have a counter.
HITS, COUNTED = 'nat_translations_total{family="ipv4"}', 'nat_counted_rules{family="ipv4"}'

BEFORE = {births("none", "no"): 0, HITS: Rises(15), COUNTED: 1}
LOST = {
    births("none", "no"): Rises(30),
    sources("none", "no"): AtLeast(3),
    HITS: Still(),
    COUNTED: 1,
}
SILENT = {
    births("source", "no"): Rises(30),
    sources("source", "no"): AtLeast(3),
    HITS: Rises(30),
    COUNTED: 1,
}

#: One to two minutes of an emulated CPU each: Debian 12's kernel and the running one stand for all
#: but in lab.outcome.
SLOW = Difference(
    because="it is slow, and what it says of the flow table is the same on each kernel.",
    applies=lambda version: version[:2] not in {(6, 1), (6, 18)},
    slow=True,
)
