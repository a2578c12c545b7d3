"""The counts of the page, held against those of the program's own listing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from stage.host import Host
from support import oracle
from support.page import Page

_FAMILIES = {"ip": "ipv4", "ip6": "ipv6"}


def differences(host: Host, page: Page) -> Iterator[str]:
    """Yield where translating rules, or those that nothing reaches, are others than listed."""
    for backend, tables in (("nftables", _nftables(host)), ("legacy", _legacy(host))):
        counts = oracle.count(tables)
        listed = {key: number for key, number in counts.rules.items() if number}
        found: Counter[tuple[str, str]] = Counter()
        for labels, value in page.samples("nat_rules", backend=backend):
            found[labels["family"], labels["action"]] += int(value)
        if +found != listed:
            yield f"{backend}: the page has {dict(+found)}, listed are {listed}"


def _nftables(host: Host) -> list[oracle.Printed]:
    """Return the tables as iptables-nft-save prints them where iptables wrote them."""
    listed = host.program("nft -j list ruleset")
    tables = oracle.nft(listed, host.program("nft list ruleset"))
    written = _written_by_iptables(listed)
    found = [
        table for table in tables if not (table.name == "nat" and written & {_only(table.families)})
    ]
    for family in written:
        tool = "iptables" if family == "ipv4" else "ip6tables"
        found += oracle.iptables(host.program(f"{tool}-nft-save"), family)
    return found


def _only(families: frozenset[str]) -> str:
    return next(iter(families)) if len(families) == 1 else ""


def _written_by_iptables(listed: str) -> set[str]:
    """Return the families whose table nat has a target that only iptables can print."""
    rules = (item["rule"] for item in json.loads(listed)["nftables"] if "rule" in item)
    return {
        _FAMILIES[rule["family"]]
        for rule in rules
        if rule["table"] == "nat" and rule["family"] in _FAMILIES and '"xt"' in json.dumps(rule)
    }


def _legacy(host: Host) -> list[oracle.Printed]:
    return [
        table
        for tool, family in (("iptables", "ipv4"), ("ip6tables", "ipv6"))
        for table in oracle.iptables(host.program(f"{tool}-legacy-save"), family)
    ]
