"""Open files of /proc say what is, also after what they stand for is gone and comes again."""

import pytest

from netfilter_exporter.kernel import kept_files
from support.namespace import Failed


def test_a_sysctl_that_comes_again_is_another(namespace):
    """As those of a module that is loaded again: an interface has the same life here."""
    path = "/proc/sys/net/ipv4/conf/d0/forwarding"
    add, remove = "ip link add d0 type veth peer name p0", "ip link del d0"
    for value in (0, 1):
        namespace.sh(add)
        for wanted in (value, 1 - value, value):
            namespace.sh(f"sysctl -qw net.ipv4.conf.d0.forwarding={wanted}")
            assert namespace.call(kept_files.read_int, path) == wanted
        namespace.sh(remove)
        with pytest.raises(Failed, match="NoData"):
            namespace.call(kept_files.read_int, path)


def test_a_list_is_that_of_the_moment(namespace):
    """Its position is where the last reading ended, and the next one begins at the beginning."""
    path = "/proc/net/dev"
    for number in range(40):
        namespace.sh(f"ip link add d{number} type veth peer name p{number}")
    listed = namespace.call(kept_files.read_bytes, path)
    assert listed.count(b" d") + listed.count(b" p") >= 2 * 40
    namespace.sh("ip link del d7")
    listed = namespace.call(kept_files.read_bytes, path)
    assert b" d6:" in listed
    assert b" d7:" not in listed
