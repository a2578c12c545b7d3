"""kernel/modules/kconfig.py: y, m, n, or not mentioned."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.errors import Malformed, ReadError
from netfilter_exporter.kernel.modules.kconfig import LIMIT, decompress, parse_config

CONFIG = b"""#
# Linux/x86 6.1.0 Kernel Configuration
#
CONFIG_MODULES=y
CONFIG_NF_CONNTRACK=m
CONFIG_NF_CONNTRACK_MARK=y
# CONFIG_NETFILTER_NETLINK_HOOK is not set
CONFIG_DEFAULT_HOSTNAME="CONFIG_NF_NAT=y"
CONFIG_NR_CPUS=64
"""
WANTED = ("NF_CONNTRACK", "NF_CONNTRACK_IPV4", "NETFILTER_NETLINK_HOOK", "NF_NAT", "NR_CPUS")


def test_values():
    """Symbols are y, m, or n; those of other types and those not mentioned are left out."""
    assert parse_config(CONFIG, WANTED, "config") == {
        "NF_CONNTRACK": "m",
        "NETFILTER_NETLINK_HOOK": "n",
    }


def test_a_kernel_without_modules_is_a_configuration():
    """CONFIG_MODULES may be off."""
    text = b"# CONFIG_MODULES is not set\nCONFIG_NF_NAT=y\n"
    assert parse_config(text, WANTED, "config") == {"NF_NAT": "y"}


@pytest.mark.parametrize("content", [b"", b"CONFIG_NF_NAT=y\n", CONFIG[:40], CONFIG[:-1]])
def test_a_part_of_a_configuration_proves_nothing(content: bytes):
    """Without CONFIG_MODULES the file is cut short: what is missing must not read as off."""
    with pytest.raises(Malformed, match="config: "):
        parse_config(content, WANTED, "config")


def test_decompress():
    """/proc/config.gz is a gzip file."""
    assert decompress(gzip.compress(CONFIG), "config.gz") == CONFIG


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"plain text",
        gzip.compress(CONFIG)[:-9],
        zlib.compress(CONFIG),
        gzip.compress(bytes(LIMIT + 1)),
    ],
    ids=["empty", "not compressed", "cut short", "not gzip", "too large"],
)
def test_what_is_no_gzip_file_is_refused(content: bytes):
    """Garbage, a part of a file and a bomb are errors."""
    with pytest.raises(Malformed, match=r"config\.gz: "):
        decompress(content, "config.gz")


@given(st.binary(max_size=300) | st.binary(max_size=200).map(CONFIG.__add__))
def test_any_bytes_give_values_or_an_error(content: bytes):
    """No input makes anything but y, m and n of wanted symbols, or a ReadError."""
    for read in (lambda: parse_config(content, WANTED, "config"), lambda: decompress(content, "c")):
        try:
            values = read()
        except ReadError:
            continue
        if isinstance(values, dict):
            assert set(values) <= set(WANTED)
            assert set(values.values()) <= {"y", "m", "n"}
