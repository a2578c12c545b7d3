"""Names that are not UTF-8, or look as if they were escaped: right numbers, each under its own."""

from netfilter_exporter.kernel import names
from support import inside, legacy, nft, nft_kernel
from support.nft_kernel import MASQUERADE, Chain, VerdictMap, accept, masquerade_behind
from support.page import Page

#: Some would be one if bytes were replaced, left out or escaped.
RAW = (
    b"a\xff",
    rb"a\xff",
    rb"a\\xff",
    b"a\xfe",
    b"a\\\xff",
    b"\xff",
    b"\xc3",
    "é".encode(),
    b"a",
    b"a?",
)


def label(raw):
    return names.label(names.decode(raw))


def page(namespace):
    return Page(namespace.call(inside.scrape, ["nat"]))


def test_tables_chains_and_maps_of_nftables(namespace):
    """A chain is reached by a jump and through a map, of whatever name; the numbers differ."""
    for number, name in enumerate(RAW, 1):
        user = Chain(nft.IP, name, name, (MASQUERADE,) * number, hooked=False)
        namespace.call(nft_kernel.make, [user])
        namespace.call(nft_kernel.make_map, VerdictMap(nft.IP, name, name, name))
        hooked = Chain(nft.IP, name, b"base" + name, (nft_kernel.jump_by(name),))
        namespace.call(nft_kernel.make, [hooked])
    found = page(namespace)
    tables = {s.labels["table"]: s.value for s in found.samples("nat_table_rules")}
    assert tables == {label(name): 1 + number for number, name in enumerate(RAW, 1)}
    bases = {(s.labels["table"], s.labels["chain"]) for s in found.samples("nat_chain_rules")}
    assert bases == {(label(name), label(b"base" + name)) for name in RAW}
    assert found.total("nat_rules", action="masquerade", family="ipv4") == sum(range(1, 11))
    for name in RAW:
        namespace.call(
            nft_kernel.make, [Chain(nft.IP, name, b"base" + name, (nft_kernel.jump(name),))]
        )
    tables = {s.labels["table"]: s.value for s in page(namespace).samples("nat_table_rules")}
    assert tables == {label(name): 2 + number for number, name in enumerate(RAW, 1)}


def test_one_hidden_rule_of_many(namespace):
    """A rule that is hidden counts for its own chain, and not for one with a similar name."""
    rules = dict.fromkeys(RAW, (MASQUERADE,))
    rules[RAW[0]] = (accept(b""), MASQUERADE)
    chains = [Chain(nft.IP, name, name, rules[name]) for name in RAW]
    namespace.call(nft_kernel.make, chains)
    hidden = {s.labels["table"]: s.value for s in page(namespace).samples("nat_unreachable_rules")}
    assert hidden == {label(name): float(name == RAW[0]) for name in RAW}


def test_chains_of_legacy_tables(namespace):
    """The same for iptables: jumps lead to the chain of these very bytes."""
    for number, name in enumerate(RAW):
        end = "-j RETURN" if number else "-j ACCEPT"
        namespace.sh(
            f"iptables-legacy -t nat -N C{number}x;"
            f" iptables-legacy -t nat -A POSTROUTING -s 10.0.{number}.0/24 -j C{number}x;"
            f" iptables-legacy -t nat -A C{number}x -p esp {end};"
            f" iptables-legacy -t nat -A C{number}x -j MASQUERADE"
        )
        namespace.call(legacy.rename_chain, f"C{number}x".encode(), name)
    assert page(namespace).total("nat_rules", action="masquerade", backend="legacy") == len(RAW)
    assert page(namespace).total("nat_unreachable_rules", backend="legacy") == 0
    (hidden,) = [number for number, name in enumerate(RAW) if name == rb"a\xff"]
    namespace.call(legacy.rename_chain, RAW[hidden], b"place")
    namespace.sh("iptables-legacy -t nat -I place -j ACCEPT")
    namespace.call(legacy.rename_chain, b"place", RAW[hidden])
    assert page(namespace).total("nat_unreachable_rules", backend="legacy") == 1


def test_interfaces(namespace):
    """An interface that is there is not missing because another has a similar name."""
    wanted = tuple(masquerade_behind(name) for name in RAW)
    namespace.call(nft_kernel.make, [Chain(nft.IP, b"t", b"c", wanted)])
    for number, name in enumerate(RAW[::2]):
        namespace.run("ip", "link", "add", f"b{number}", "type", "bridge")
        namespace.call(inside.rename_interface, f"b{number}".encode(), name)
    missing = {s.labels["interface"] for s in page(namespace).samples("nat_missing_interface")}
    assert missing == {label(name) for name in RAW[1::2]}
