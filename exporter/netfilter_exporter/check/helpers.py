"""Check of conntrack helpers: somebody has to assign them."""

from __future__ import annotations

from collections.abc import Iterator

from netfilter_exporter.check.context import Context
from netfilter_exporter.check.findings import Found
from netfilter_exporter.check.rules import every_ruleset_read
from netfilter_exporter.check.shell import comment
from netfilter_exporter.facts.helpers import unassigned_helpers


def nat_helper_unassigned(context: Context) -> Iterator[Found]:
    """A helper is present, but no rule assigns it."""
    helpers = unassigned_helpers(context.snapshot)
    if helpers:
        names = ", ".join(helpers)
        yield Found(
            f"No rule assigns these conntrack helpers: {names}.",
            "Connections that the protocol announces (active FTP, SIP calls) are neither"
            " translated nor accepted as related. Since Linux 6.0 the kernel assigns no helper"
            " by itself.",
            {"helpers": names},
            (
                comment("if the protocol is used, assign its helper:"),
                comment(
                    'nft: ct helper NAME { type "ftp" protocol tcp; }, and in a prerouting chain'
                ),
                comment("     tcp dport 21 ct helper set NAME"),
                comment("iptables: -t raw -A PREROUTING -p tcp --dport 21 -j CT --helper ftp"),
                comment("else remove the object, or unload the module"),
            ),
        )
    every_ruleset_read(context)
