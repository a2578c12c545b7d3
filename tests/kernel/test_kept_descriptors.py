"""A sysctl that went says so on an old descriptor too: what is kept open is never stale."""

import subprocess

from netfilter_exporter.kernel.errors import NoData
from netfilter_exporter.kernel.files import CachedIntReader

TAG = "/proc/sys/net/ipv4/conf/v0/tag"


def numbers_of_three_lives():
    """Return what one reader tells of an interface, without it, and of another of that name."""
    numbers, told = CachedIntReader(), []
    for value in ("7", None, "0"):
        link = ["ip", "link"]
        verb = ["del", "v0"] if value is None else ["add", "v0", "type", "veth", "peer", "v1"]
        subprocess.run([*link, *verb], check=True)
        if value == "7":
            numbers_before = _read(numbers)
            with open(TAG, "w") as tag:
                tag.write(value)
            told.append(numbers_before)
        told.append(_read(numbers))
    return told


def _read(numbers):
    try:
        return numbers.read(TAG)
    except NoData:
        return None


def test_a_table_that_went_is_not_read(namespace):
    """A new value shows at once, a removed interface has none, one of the same name its own."""
    assert namespace.call(numbers_of_three_lives) == [0, 7, None, 0]
