"""Random rulesets that a kernel accepts, in the words of iptables-restore and nft."""

from __future__ import annotations

import random
from collections.abc import Sequence

_ADDRESS = {4: ("10.{}.0.0/16", "192.0.2.{}"), 6: ("fd00:{}::/32", "fd01::{}")}
_HOOKED = {
    "PREROUTING": ("DNAT", "REDIRECT", "NETMAP"),
    "OUTPUT": ("DNAT", "REDIRECT", "NETMAP"),
    "INPUT": ("SNAT", "NETMAP"),
    "POSTROUTING": ("SNAT", "MASQUERADE", "NETMAP"),
}


def iptables(seed: int, version: int) -> str:
    """Return a nat table for iptables-restore."""
    dice = random.Random(seed)  # repeatable, and secret from nobody
    user = {"dst": [f"d{n}" for n in range(dice.randrange(4))],
            "src": [f"s{n}" for n in range(dice.randrange(4))]}  # fmt: skip
    lines = [f":{name} ACCEPT [0:0]" for name in _HOOKED]
    lines += [f":{name} - [0:0]" for names in user.values() for name in names]
    for name, actions in _HOOKED.items():
        kind = {"PREROUTING": "dst", "OUTPUT": "dst", "POSTROUTING": "src"}.get(name)
        chains = user[kind] if kind else []
        lines += _iptables_chain(dice, version, name, actions, chains)
    for kind, actions in (("dst", ("DNAT", "REDIRECT")), ("src", ("MASQUERADE", "SNAT"))):
        for number, name in enumerate(user[kind]):
            lines += _iptables_chain(dice, version, name, actions, user[kind][number + 1 :])
    return "\n".join(["*nat", *lines, "COMMIT", ""])


def _iptables_chain(
    dice: random.Random, version: int, name: str, actions: Sequence[str], chains: Sequence[str]
) -> list[str]:
    lines = []
    for _ in range(dice.randrange(6)):
        words = [f"-A {name}"]
        for _ in range(dice.choice([0, 0, 1, 1, 2])):
            match = _iptables_match(dice, version, name)
            if match.split()[-2] not in " ".join(words):
                words.append(match)
        words.append(_iptables_target(dice, version, actions, chains))
        lines.append(" ".join(words))
    return lines


def _iptables_match(dice: random.Random, version: int, chain: str) -> str:
    network, host = _ADDRESS[version]
    interface = dice.choice(["eth0", "docker0", "veth+", "lo", "wan.100", "a23456789012345"])
    way = "-o" if chain == "POSTROUTING" or chain.startswith("s") else "-s"
    if chain == "PREROUTING":
        way = "-i"
    matches = [
        f"-s {network.format(dice.randrange(1, 99))}",
        f"! -d {host.format(dice.randrange(1, 99))}",
        f"-p tcp -m tcp --dport {dice.randrange(1, 65535)}",
        '-m comment --comment "a comment -j MASQUERADE"',
        "-m addrtype --dst-type LOCAL",
        "-m conntrack --ctstate NEW",
        "-p udp",
    ]
    if way != "-s":
        matches += [f"{way} {interface}", f"! {way} {interface}"] * 2
    return dice.choice(matches)


def _iptables_target(
    dice: random.Random, version: int, actions: Sequence[str], chains: Sequence[str]
) -> str:
    host = _ADDRESS[version][1].format(dice.randrange(1, 99))
    targets = {
        "DNAT": f"-j DNAT --to-destination {host}",
        "SNAT": f"-j SNAT --to-source {host}",
        "MASQUERADE": dice.choice(["-j MASQUERADE", "-j MASQUERADE --random"]),
        "REDIRECT": "-j REDIRECT",
        "NETMAP": f"-j NETMAP --to {_ADDRESS[version][0].format(7)}",
    }
    choices = [targets[action] for action in actions] * 2
    choices += ["-j ACCEPT", "-j RETURN", "-j LOG", ""]
    choices += [f"{dice.choice(['-j', '-j', '-g'])} {chain}" for chain in chains]
    return dice.choice(choices)


# -- nft -----------------------------------------------------------------------------------------

_NFT_ACTIONS = {"dst": ("dnat", "redirect"), "src": ("masquerade", "snat")}
_HOST = {"ip": "192.0.2.{}", "ip6": "fd01::{}"}


def nft(seed: int) -> str:
    """Return tables for ``nft -f``: several families, maps, dormant tables, many base chains."""
    dice = random.Random(seed)
    return "\n".join(_nft_table(dice, number) for number in range(1 + dice.randrange(4)))


def _nft_table(dice: random.Random, number: int) -> str:
    family = dice.choice(["ip", "ip6", "inet", "inet"])
    user = {kind: [f"{kind}{n}" for n in range(dice.randrange(5))] for kind in _NFT_ACTIONS}
    lines = ["flags dormant;"] if dice.random() < 0.15 else []
    maps = []
    for kind, names in user.items():
        if names and dice.random() < 0.7:
            maps.append(kind)
            leads = ", ".join(
                f"{1000 + n} : {dice.choice(['jump', 'goto'])} {name}"
                for n, name in enumerate(names)
            )
            lines.append(f"map m{kind} {{ type inet_service : verdict; elements = {{ {leads}, "
                         "7 : accept, 9 : drop } }")  # fmt: skip
    bodies = []
    for kind, names in user.items():
        for at, name in enumerate(names):
            rules = _nft_rules(dice, family, kind, names[at + 1 :], [])
            bodies.append(_chain(name, rules))
    for at in range(dice.randrange(5)):
        hook, kind = dice.choice([("prerouting", "dst"), ("output", "dst"), ("postrouting", "src")])
        rules = _nft_rules(dice, family, kind, user[kind], [k for k in maps if k == kind])
        header = f"type nat hook {hook} priority {dice.randrange(-150, 150)};"
        bodies.append(_chain(f"base{at}", [header, *rules]))
    bodies.append(_chain("filter", ["type filter hook forward priority 0;", "accept"]))
    # Chains first, so that maps and jumps find them.
    declared = [f"chain {name} {{ }}" for names in user.values() for name in names]
    return "\n".join([f"table {family} t{number} {{", *declared, *lines, *bodies, "}"])


def _chain(name: str, rules: Sequence[str]) -> str:
    return "\n".join([f"chain {name} {{", *rules, "}"])


def _nft_rules(
    dice: random.Random, family: str, kind: str, chains: Sequence[str], maps: Sequence[str]
) -> list[str]:
    return [_nft_rule(dice, family, kind, chains, maps) for _ in range(dice.randrange(6))]


def _nft_rule(
    dice: random.Random, family: str, kind: str, chains: Sequence[str], maps: Sequence[str]
) -> str:
    one = dice.choice(["ip", "ip6"]) if family == "inet" else family
    host = _HOST[one].format(dice.randrange(1, 99))
    matches = [
        f"{one} saddr {host}",
        f"{one} daddr != {host}",
        f"tcp dport {dice.randrange(1, 65535)}",
        "udp dport { 53, 123 }",
        "meta mark 7",
        "ct state new",
        f'oifname {dice.choice(["", "!= "])}"{dice.choice(["eth0", "veth*", "lo"])}"'
        if kind == "src"
        else f'iifname {dice.choice(["", "!= "])}"{dice.choice(["eth0", "veth*", "lo"])}"',
    ]
    if family == "inet":
        matches += ["meta nfproto ipv4", "meta nfproto ipv6"]
    words = [dice.choice(matches) for _ in range(dice.choice([0, 0, 1, 1, 1, 2]))]
    if any("ip6" in word for word in words) != any("ip " in word for word in words):
        one = "ip6" if any("ip6" in word for word in words) else "ip"
        host = _HOST[one].format(dice.randrange(1, 99))
    prefix = "ip " if one == "ip" else "ip6 "
    to = f"{prefix if family == 'inet' else ''}to {host}"
    statements = {
        "dnat": f"dnat {to}",
        "snat": f"snat {to}",
        "masquerade": "masquerade",
        "redirect": "redirect",
    }
    choices = [statements[action] for action in _NFT_ACTIONS[kind]] * 2
    choices += ["accept", "return", 'log prefix "x"', "counter"]
    choices += [f"{dice.choice(['jump', 'goto'])} {chain}" for chain in chains]
    choices += [f"tcp dport vmap @m{m}" for m in maps]
    if chains:
        choices.append(f"udp dport vmap {{ 1 : jump {chains[0]}, 2 : goto {chains[-1]} }}")
    words += dice.choice([["counter"], []])
    words.append(dice.choice(choices))
    if dice.random() < 0.2:
        words.append('comment "why"')
    return " ".join(words)
