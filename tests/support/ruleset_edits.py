"""Random edits of an nftables ruleset: what nft(8) is told, some of which it refuses."""

from __future__ import annotations

import random
import subprocess
import time

from support import nft, nft_kernel, random_rules

_NAMES = {nft.IP: "ip", nft.INET: "inet", nft.IP6: "ip6"}
_TABLES = ("u0", "u1")  #: other names than those of random_rules
_RULED = [name.encode() for name in _TABLES]
_USER = ("a", "b", "c", "d")
_BASES = (
    "type nat hook prerouting priority -100;",
    "type nat hook postrouting priority 100;",
    "type nat hook output priority -100;",
    "type filter hook forward priority 0;",
    "type filter hook prerouting priority -300;",
    "type filter hook input priority 0;",
)
_MAPS = {"m": "inet_service", "f": "nf_proto"}


def _scaffold(family: str, table: str) -> str:
    """Return a table with the chains, maps and a set that most edits find their place in."""
    things = [
        *(f"chain {chain} {{ }}" for chain in _USER),
        *(f"chain base{number} {{ {base} }}" for number, base in enumerate(_BASES[:4])),
        *(f"map {name} {{ type {key} : verdict; }}" for name, key in _MAPS.items()),
        "set s { type ipv4_addr; }",
    ]
    return "\n".join([f"table {family} {table} {{", *things, "}"])


class Edits:
    """Edits one after the other, the same for each seed."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._owner: subprocess.Popen[str] | None = None
        self.made = 0
        self.refused = 0

    def close(self) -> None:
        """Let the owner of a table go."""
        self._release()

    def make(self) -> str:
        """Make an edit and return it; nft may refuse what it finds no place for."""
        dice = self._dice
        if dice.random() < (0.02 if self._owner is None else 0.3):
            return self._own() if self._owner is None else self._release()
        if self.made == 0 or dice.random() < 0.02:
            made = [_scaffold(family, name) for family in _NAMES.values() for name in _TABLES]
            first = self._nft("\n".join(["flush ruleset", *made]))
            return first + self._nft(random_rules.nft(dice.randrange(100)))
        if dice.random() < 0.15:
            return self._edit_rule()
        count = dice.choice([1, 1, 1, 2, 5])
        return self._nft("\n".join(self._command() for _ in range(count)))

    def _nft(self, commands: str) -> str:
        done = subprocess.run(
            ["nft", "-f", "-"], input=commands, text=True, capture_output=True, check=False
        )
        self.made += 1
        self.refused += bool(done.returncode)
        return commands

    def _command(self) -> str:
        dice = self._dice
        family, name = dice.choice([*_NAMES.values()]), dice.choice(_TABLES)
        table = f"{family} {name}"
        user, base = dice.choice(_USER), f"base{dice.randrange(4)}"
        rule = f"{dice.choice(['add', 'add', 'add', 'insert'])} rule {table}"
        choices = {
            f"add table {table}": 2,
            f"add table {table} {{ flags dormant; }}": 0.5,
            f"delete table {table}": 0.1,
            f"delete table {table}\n{_scaffold(family, name)}": 0.3,
            f"add table {table}\n{_scaffold(family, name)}": 1,
            f"add chain {table} {user}": 3,
            f"add chain {table} {base} {{ {dice.choice(_BASES)} }}": 4,
            f"add chain {table} {base} {{ policy {dice.choice(['drop', 'accept'])}; }}": 4,
            f"rename chain {table} {user} {dice.choice(_USER)}": 1,
            f"flush chain {table} {dice.choice([user, base])}": 2,
            f"flush chain {table} {user}\ndelete chain {table} {user}": 0.5,
            f"flush chain {table} {base}\ndelete chain {table} {base}": 0.5,
            f"{rule} {user} {self._rule(family)}": 12,
            f"{rule} {base} {self._rule(family)}": 16,
            self._of_map(table): 6,
            f"delete map {table} {dice.choice([*_MAPS])}": 0.3,
            self._of_set(table): 3,
            f"add counter {table} c{dice.randrange(9)}": 1,
            f"add table {dice.choice(['arp', 'bridge', 'netdev'])} x": 1,
            "add chain arp x y\nadd rule arp x y accept": 1,
        }
        return dice.choices([*choices], [*choices.values()])[0]

    def _rule(self, family: str) -> str:
        dice = self._dice
        address = "ip6 daddr fd01::1" if family == "ip6" else "ip saddr @s"
        of_inet = ["meta nfproto ipv4", "meta nfproto ipv6"] if family == "inet" else []
        match = dice.choice(
            ["", "", "meta mark 7", f"tcp dport {dice.randrange(1, 9)}", 'oifname "eth0"',
             address, *of_inet, "ct state new", "iifname { eth1, eth2 }"]
        )  # fmt: skip
        chain, other = dice.choice(_USER), dice.choice(_USER)
        end = dice.choice(
            ["accept", "drop", "return", "counter", "masquerade", "redirect", "notrack",
             *_translations(family),
             f"jump {chain}", f"jump {chain}", f"goto {chain}",
             "tcp dport vmap @m", *_vmaps(family, chain, other),
             f"tcp dport vmap {{ 1 : jump {chain}, 2 : goto {other}, 3 : drop }}"]
        )  # fmt: skip
        return f"{match} {end}"

    def _of_map(self, table: str) -> str:
        dice = self._dice
        name, key = dice.choice([*_MAPS.items()])
        value = str(dice.randrange(1, 9)) if name == "m" else dice.choice(["ipv4", "ipv6"])
        to = f"{dice.choice(['jump', 'goto'])} {dice.choice(_USER)}"
        flags = "flags timeout; " if dice.random() < 0.03 else ""
        return dice.choice(
            [
                f"add map {table} {name} {{ type {key} : verdict; {flags}}}",
                f"add element {table} {name} {{ {value} : {to} }}",
                f"add element {table} {name} {{ {value} : {to} }}",
                f"add element {table} {name} {{ {value} timeout 50ms : {to} }}",
                f"delete element {table} {name} {{ {value} }}",
                f"flush map {table} {name}",
            ]
        )

    def _of_set(self, table: str) -> str:
        dice = self._dice
        address = f"192.0.2.{dice.randrange(9)}"
        return dice.choice(
            [
                f"add set {table} s {{ type ipv4_addr; }}",
                f"add element {table} s {{ {address} }}",
                f"delete element {table} s {{ {address} }}",
                f"flush set {table} s",
            ]
        )

    def _edit_rule(self) -> str:
        """Replace or delete one of the rules that there are."""
        rules = [rule for rule in nft_kernel.state().rules if rule.table in _RULED]
        if not rules:
            return ""
        rule = self._dice.choice(rules)
        names = _NAMES[rule.family], rule.table.decode(), rule.chain.decode()
        place = f"{' '.join(names)} handle {rule.handle}"
        delete = self._dice.random() < 0.5
        return self._nft(
            f"delete rule {place}" if delete else f"replace rule {place} {self._rule(names[0])}"
        )

    def _own(self) -> str:
        """Make a table that goes with a process."""
        self._owner = subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE, text=True)
        commands = (
            "add table ip o { flags owner; }\n"
            "add chain ip o p { type nat hook postrouting priority 90; }\n"
            "add rule ip o p masquerade\n"
        )
        assert self._owner.stdin
        self._owner.stdin.write(commands)
        self._owner.stdin.flush()
        end = time.monotonic() + 5
        while time.monotonic() < end and all(
            rule.table != b"o" for rule in nft_kernel.state().rules
        ):
            time.sleep(0.01)
        return commands

    def _release(self) -> str:
        if self._owner:
            with self._owner as owner:
                assert owner.stdin
                owner.stdin.close()
            self._owner = None
        return "the owner goes"


def _translations(family: str) -> list[str]:
    if family == "ip6":
        return ["dnat to fd01::1", "snat to fd01::2"]
    if family == "inet":
        return ["dnat ip to 192.0.2.7", "snat ip6 to fd01::2"]
    return ["dnat to 192.0.2.1", "snat to 192.0.2.2"]


def _vmaps(family: str, chain: str, other: str) -> list[str]:
    if family != "inet":
        return []
    return [
        "meta nfproto vmap @f",
        f"meta nfproto vmap {{ ipv4 : jump {chain}, ipv6 : goto {other} }}",
    ]
