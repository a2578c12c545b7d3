"""An independent reading of rulesets, from what iptables-save and nft print.

It shares nothing with the exporter but the words: text and JSON in, counts out.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

V4, V6 = "ipv4", "ipv6"
_XT = {"MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP"}
#: They change the port, not the address.
_CHOICE_OF_PORTS = {"--random", "--random-fully", "--persistent"}
_FAMILIES = {"ip": {V4}, "ip6": {V6}, "inet": {V4, V6}}


class Line(NamedTuple):
    """A rule as it is printed."""

    families: frozenset[str]  #: that can match it
    matches: bool  #: it has a match
    ends: bool  #: what matches it goes no further in this chain
    targets: tuple[str, ...] = ()
    action: str | None = None
    returns: bool = False  #: or may: a map can hold any verdict
    #: what it translates to, as it is printed; empty where a map decides
    translation: str = ""


class Printed(NamedTuple):
    """A table as it is printed: base chains by name with their hook, and all chains."""

    name: str
    families: frozenset[str]
    bases: Mapping[str, str]
    chains: Mapping[str, Sequence[Line]]
    dormant: bool = False


class Counts(NamedTuple):
    """What must be counted; zeros are left out."""

    chains: Counter[tuple[str, str, str]]  #: rules, by family, table and base chain
    rules: Counter[tuple[str, str]]  #: translating rules, by family and action
    unreachable: Counter[tuple[str, str, str]]
    tables: Counter[tuple[str, str]]  #: rules behind NAT hooks, by family and table
    dormant: Counter[tuple[str, str]]


def count(tables: Sequence[Printed]) -> Counts:
    """Walk every chain for each family and each base chain on its own."""
    counts = Counts(Counter(), Counter(), Counter(), Counter(), Counter())
    for table in tables:
        for family in table.families:
            met: set[tuple[str, int]] = set()
            for base in table.bases:
                counts.chains[family, table.name, base] += len(table.chains[base])
                seen = _walk(table, family, base)
                met |= {place for place, _ in seen}
                live = {place for place, alive in seen if alive}
                if not table.dormant:
                    hidden = {p for p, _ in seen if _line(table, p).action} - live
                    counts.unreachable[family, table.name, base] += len(hidden)
            reached = _chains(table, family)
            counts.tables[family, table.name] += sum(len(table.chains[c]) for c in reached)
            for place in met:
                action = _line(table, place).action
                if action and table.dormant:
                    counts.dormant[family, table.name] += 1
                elif action:
                    counts.rules[family, action] += 1
    return Counts(
        +counts.chains, +counts.rules, +counts.unreachable, +counts.tables, +counts.dormant
    )


def _line(table: Printed, place: tuple[str, int]) -> Line:
    return table.chains[place[0]][place[1]]


def _walk(table: Printed, family: str, base: str) -> set[tuple[tuple[str, int], bool]]:
    """Return every rule that packets could meet, with whether any of them really does."""
    seen: set[tuple[tuple[str, int], bool]] = set()
    entered: set[tuple[str, bool]] = set()
    todo = [(base, True)]
    while todo:
        chain, alive = todo.pop()
        if (chain, alive) in entered:
            continue
        entered.add((chain, alive))
        repeated = ""  # the translation that takes every packet before the lines that follow
        for number, line in enumerate(table.chains.get(chain, ())):
            if family in line.families:
                harmless = bool(repeated) and line.translation == repeated
                seen.add(((chain, number), alive or harmless))
                todo.extend((target, alive) for target in line.targets)
                if alive and not line.matches and (line.ends or not _goes_on(table, line)):
                    alive, repeated = False, line.translation
    return seen


def _goes_on(table: Printed, line: Line, asked: tuple[str, ...] = ()) -> bool:
    """Return whether packets may go on behind a line that they match."""
    if line.targets:
        return any(_comes_back(table, target, asked) for target in line.targets)
    return not line.ends


def _comes_back(table: Printed, chain: str, asked: tuple[str, ...]) -> bool:
    """Return whether packets that come to a chain may come back to its caller."""
    if chain in asked:
        return True
    for line in table.chains.get(chain, ()):
        on = _goes_on(table, line, (*asked, chain))
        if line.returns or (line.ends and line.targets and on):  # what is sent on comes back too
            return True
        if not on and not line.matches:
            return False
    return True


def _chains(table: Printed, family: str) -> set[str]:
    """Return the chains that packets of a family could come to from any NAT hook."""
    found: set[str] = set()
    todo = list(table.bases)
    while todo:
        chain = todo.pop()
        if chain not in found and chain in table.chains:
            found.add(chain)
            for line in table.chains[chain]:
                if family in line.families:
                    todo.extend(line.targets)
    return found


# -- iptables-save -------------------------------------------------------------------------------


def iptables(saved: str, family: str, table: str = "nat") -> list[Printed]:
    """Parse the output of iptables-save."""
    found = re.search(rf"^\*{table}\n(.*?)^COMMIT", saved, re.DOTALL | re.MULTILINE)
    if not found:
        return []
    bases: dict[str, str] = {}
    chains: dict[str, list[Line]] = {}
    for text in found[1].splitlines():
        if text.startswith(":"):
            name, policy, _ = text[1:].split()
            chains[name] = []
            if policy != "-":
                bases[name] = name
        elif text.startswith("-A "):
            words = shlex.split(text)
            chains[words[1]].append(_iptables_line(words[2:], family, set(chains)))
    return [Printed(table, frozenset({family}), bases, chains)]


def _iptables_line(words: list[str], family: str, chains: set[str]) -> Line:
    at = next((i for i, word in enumerate(words) if word in {"-j", "-g"}), len(words))
    matches, rest = words[:at], words[at:]
    while matches[:3:2] == ["-m", "--comment"] and matches[1] == "comment":
        matches = matches[4:]
    families = frozenset({family})
    if not rest:
        return Line(families, bool(matches), ends=False)
    name = rest[1]
    if name in _XT:
        translation = " ".join(word for word in rest if word not in _CHOICE_OF_PORTS)
        action = name.lower()
        return Line(families, bool(matches), True, action=action, translation=translation)
    if name in chains:
        return Line(families, bool(matches), ends=rest[0] == "-g", targets=(name,))
    ends = name in {"ACCEPT", "DROP", "RETURN"}
    return Line(families, bool(matches), ends, returns=name == "RETURN")


# -- nft -j list ruleset -------------------------------------------------------------------------

_IGNORED = {"counter", "log", "mangle", "xt", "comment", "notrack"}
_VERDICTS = {"accept", "drop", "return", "queue", "reject"}
_ACTIONS = {"masquerade", "snat", "dnat", "redirect"}


def nft(listed: str, text: str) -> list[Printed]:
    """Parse ``nft -j list ruleset``, and ``nft list ruleset``: JSON leaves out what is dormant."""
    items = [item for item in json.loads(listed)["nftables"] if "metainfo" not in item]
    tables = []
    for table in (item["table"] for item in items if "table" in item):
        if table["family"] not in _FAMILIES:
            continue
        families = _FAMILIES[table["family"]]
        mine = {"family": table["family"], "table": table["name"]}
        own = [
            (kind, thing)
            for item in items
            for kind, thing in item.items()
            if mine.items() <= thing.items()
        ]
        chains: dict[str, list[Line]] = {
            thing["name"]: [] for kind, thing in own if kind == "chain"
        }
        bases = {
            t["name"]: t["hook"] for kind, t in own if kind == "chain" and t.get("type") == "nat"
        }
        maps = {t["name"]: _leads_to(t.get("elem", [])) for kind, t in own if kind == "map"}
        for kind, thing in own:
            if kind == "rule":
                chains[thing["chain"]].append(_nft_line(thing["expr"], families, maps))
        dormant = f"table {table['family']} {table['name']} {{\n\tflags dormant" in text
        tables.append(Printed(table["name"], frozenset(families), bases, chains, dormant))
    return tables


def _nft_line(
    expressions: list[dict[str, Any]], of_table: set[str], maps: Mapping[str, tuple[str, ...]]
) -> Line:
    families, matches, ends = set(of_table), False, False
    targets: tuple[str, ...] = ()
    action, returns, translation = None, False, ""
    for expression in expressions:
        ((kind, what),) = expression.items()
        if kind in {"jump", "goto"}:
            targets += (what["target"],)
            ends = kind == "goto"
        elif kind in _VERDICTS:
            ends = True
            returns = kind == "return"
        elif kind in _ACTIONS:
            action, ends = kind, True
            if what and "prefix" in json.dumps(what.get("type_flags", "")):
                action = "netmap"
            if what and "family" in what:
                families &= _FAMILIES[what["family"]]
            by_map = bool(what) and '"map"' in json.dumps(what)
            matches = matches or by_map
            to = {key: value for key, value in (what or {}).items() if key != "flags"}
            translation = "" if by_map else json.dumps([kind, to])
        elif kind == "vmap":
            matches = returns = True
            data = what["data"]
            targets += maps[data[1:]] if isinstance(data, str) else _leads_to(data["set"])
        elif kind not in _IGNORED:
            matches = True
            families &= _families_of(what)
    ends_for_all = ends and families == of_table
    return Line(frozenset(families), matches, ends_for_all, targets, action, returns, translation)


def _leads_to(elements: Sequence[Any]) -> tuple[str, ...]:
    verdicts = [element[1] for element in elements]
    return tuple(v[kind]["target"] for v in verdicts for kind in ("jump", "goto") if kind in v)


def _families_of(match: dict[str, Any]) -> set[str]:
    """Return the families that a match lets pass, where it says so."""
    left = match.get("left", {}) if isinstance(match, dict) else {}
    if not isinstance(left, dict):
        return {V4, V6}
    if left.get("meta", {}).get("key") == "nfproto" and match["op"] == "==":
        return {match["right"]}
    return _FAMILIES.get(left.get("payload", {}).get("protocol"), {V4, V6})
