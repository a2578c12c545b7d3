"""config.py: the configuration file means one thing, or it is refused with a place and a reason."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.config import model as config
from netfilter_exporter.config.model import (
    Config,
    ConfigError,
    Expect,
    ExpectedRule,
    Modules,
    NamespaceRule,
    Nat,
    Role,
    load,
    parse,
)
from netfilter_exporter.kernel.sysctl.names import Operator
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.model import Action
from support.irregular import KINDS, make

FIXTURES = Path(__file__).parents[1] / "fixtures" / "config"
GOOD = sorted(FIXTURES.glob("good-*.yml"))
BAD = sorted(FIXTURES.glob("bad-*.yml"))
MAX = "net/netfilter/nf_conntrack_max"


def good(name: str) -> Config:
    return load(str(FIXTURES / f"good-{name}.yml"))


def overrides(name: str) -> list[tuple[str, str, int]]:
    return [(wish.key, wish.operator.value, wish.value) for wish in good(name).sysctls]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_what_is_wrong_is_refused_with_its_place(path: Path):
    """The message is the file, the line, the column, the key, and what is allowed there."""
    expected = path.read_text().split("# error: ", 1)[1].rstrip("\n")
    with pytest.raises(ConfigError) as raised:
        load(str(path))
    assert str(raised.value) == f"{path}:{expected}"


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_what_is_right_is_frozen(path: Path):
    """A configuration cannot change under its reader, and can be compared and hashed."""
    loaded = load(str(path))
    assert hash(loaded) == hash(load(str(path)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.nat = Nat()  # type: ignore[misc]


@pytest.mark.parametrize("name", ["empty", "only-comments", "empty-sections"])
def test_nothing_is_the_defaults(name: str):
    """An empty file, and empty sections, ask for nothing."""
    assert good(name) == Config()


def test_a_word_sets_ipv4_and_leaves_ipv6_to_history():
    """nat: required speaks of IPv4 alone."""
    assert good("nat-word").nat == Nat(Role.REQUIRED, Role.AUTO)


def test_a_host_that_must_not_nat_must_not_in_any_family():
    """`nat: none` is for both families: what it ends, it ends."""
    nat = parse("nat: none", "x").nat
    assert [nat.role(family) for family in Family] == [Role.NONE, Role.NONE]


def test_each_family_has_its_role():
    """A mapping sets both, and the role is found by family."""
    nat = good("nat-families").nat
    assert (nat.role(Family.IPV4), nat.role(Family.IPV6)) == (Role.REQUIRED, Role.NONE)


def test_the_namespace_may_be_any():
    """A pod that is meant to look at itself says so."""
    assert good("namespace").network_namespace is NamespaceRule.ANY


def test_sysctls_are_compared():
    """A plain number is equality; the name may be in either form and of any network sysctl."""
    assert overrides("sysctls-map") == [
        (MAX, ">=", 262144),
        ("net/ipv4/ip_forward", "=", 1),
        ("net/ipv4/conf/eth0.5/rp_filter", "<=", 2),
    ]


def test_sysctls_may_be_a_list():
    """The list says the same in one line each."""
    assert overrides("sysctls-list") == [(MAX, ">=", 262144), ("net/ipv4/ip_forward", "=", 1)]


def test_a_wish_knows_its_line():
    """A person is told where in the file a value is asked for."""
    (first, *_) = good("sysctls-list").sysctls
    assert first.origin.endswith("good-sysctls-list.yml:2")
    assert (first.source, first.operator) == ("config", Operator.AT_LEAST)


def test_what_must_exist():
    """Interfaces, modules (with underscores, as the kernel lists them) and rules."""
    assert good("expect").expect == Expect(
        interfaces=("eth0", "eth0.5"),
        modules=("nf_nat", "xt_MASQUERADE"),
        rules=(
            ExpectedRule(
                "uplink",
                Family.IPV4,
                Action.MASQUERADE,
                Backend.NFTABLES,
                "nat",
                "POSTROUTING",
                "eth0",
            ),
            ExpectedRule("publish", Family.IPV6, Action.DNAT),
        ),
    )


def test_modules_may_be_watched():
    """Modules of the host's own choice are told of like the built-in ones."""
    assert good("modules").modules == Modules(watch=("nf_conntrack_ftp",))


def test_the_sample_of_the_flow_table():
    """Its interval and size, and networks that are not what they look like."""
    flows = good("flows").flows
    assert (flows.interval, flows.sample_size) == (30, 65536)
    texts = [[str(network) for network in networks] for networks in flows.networks]
    assert texts == [
        ["198.51.100.0/24", "2001:db8:1::/48"],
        ["10.99.0.0/16"],
        ["10.0.1.0/24"],
        ["192.168.50.0/24"],
    ]


def test_options_of_collectors():
    """What is true is on, what is false is not."""
    assert good("collectors").collectors == {"conntrack.per-cpu"}


def test_a_missing_file_is_told(tmp_path: Path):
    """A file that cannot be read is an error of the configuration."""
    with pytest.raises(ConfigError, match=r"absent\.yml: No such file"):
        load(str(tmp_path / "absent.yml"))


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_regular_file_is_a_configuration(tmp_path: Path, kind: str):
    """A FIFO that nobody writes would be an empty file, which means no role at all."""
    with pytest.raises(ConfigError, match=f"{kind}; expected a regular file"):
        load(make(tmp_path, kind))


def test_a_large_file_is_refused(tmp_path: Path):
    """Nobody writes 64 KiB of configuration: it is the wrong file."""
    path = tmp_path / "large.yml"
    path.write_bytes(b"#" * 65537)
    with pytest.raises(ConfigError, match="larger than 65536 bytes"):
        load(str(path))


def test_only_utf8_is_read(tmp_path: Path):
    """Bytes that are no UTF-8 are told by their position."""
    path = tmp_path / "latin.yml"
    path.write_bytes(b"# \xe4\n")
    with pytest.raises(ConfigError, match="byte 2: not UTF-8"):
        load(str(path))


TOKENS = st.sampled_from(
    [
        *("nat", "sysctls", "expect", "rules", "interfaces", "collectors", "auto", "1", "~"),
        *(": ", "- ", "\n", "\n  ", "[", "]", "{", "}", ", ", "'", '"', "? ", "|", ">", "#", "%"),
        *("&a ", "*a ", "!!int ", "<<"),
    ]
)


@given(st.text(max_size=80) | st.lists(TOKENS, max_size=25).map("".join))
def test_any_text_is_a_configuration_or_an_error(text: str):
    """No text makes anything but a configuration or an error that names the file."""
    try:
        parsed = parse(text, "some.yml")
    except ConfigError as error:
        assert str(error).startswith("some.yml:")  # noqa: PT017 - most texts raise nothing else
        return
    assert isinstance(parsed, Config)


def test_every_rule_has_a_file():
    """The fixtures are found, so that none of the tests above is empty."""
    assert len(GOOD) > 10
    assert len(BAD) > 40
    assert config.load is load
