"""A panel of each type through Grafana's own library: what a person reads, and in which colour."""

import copy

import pytest

import boards
import displayed
from support import needs

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

GREEN, ORANGE, RED, PURPLE, GREY = "#73BF69", "#FF9830", "#F2495C", "#B877D9", "#808080"
GW, DOWN = {"job": "netfilter", "instance": "gw1"}, {"job": "netfilter", "instance": "old1"}


@pytest.fixture(scope="module")
def packages():
    """The library."""
    try:
        return displayed.installed()
    except displayed.UnavailableError as error:
        return needs.lacks(str(error), forced=needs.E2E)


@pytest.fixture
def show(packages):
    """A function that shows a panel."""

    def shown(panel, **results):
        return displayed.shown(packages, panel, results)

    return shown


def panel(board, title):
    """Return a copy of a panel."""
    (found,) = (p for p in boards.panels(boards.load(board)) if p["title"] == title)
    return copy.deepcopy(found)


def now(value, **labels):
    return {"metric": labels, "value": [1700000000, str(value)]}


def over_time(*values, **labels):
    points = [[1700000000 + 60 * number, str(value)] for number, value in enumerate(values)]
    return {"metric": labels, "values": points}


HOSTS = panel("netfilter-fleet", "Hosts")
WORKS = panel("netfilter-host", "Is NAT working?")
FULLEST = panel("netfilter-fleet", "Fullest tables")
SINCE = panel("netfilter-host", "Since when")
INVALID = panel("netfilter-host", "Invalid packets")


def test_a_table(show):
    """The host that is down stands first; what it lacks is a dash, neither green nor 0."""
    found = show(
        HOSTS,
        A=[now(2, **GW), now(3, **DOWN)],
        B=[now(-1, **GW)],
        G=[now(0.8123, **GW)],
        H=[now(0, **GW)],
        I=[now(0, **GW)],
        K=[now(12.5, **GW)],
    )
    assert [value.text for value in found["Host"]] == ["old1", "gw1"]
    assert found["State"] == [("DOWN", PURPLE), ("unknown", PURPLE)]
    assert found["NAT IPv4"] == [("-", GREY), ("not readable", GREY)]
    assert found["Table fill"] == [("-", GREY), ("81.2%", ORANGE)]
    assert found["Drops, 5 min"] == [("-", GREY), ("0", GREEN)]
    assert found["Alerts"] == [("-", GREY), ("none", GREEN)]
    assert [value.text for value in found["Untranslated"]] == ["-", "12.5 /s"]


def test_tiles(show):
    """In words; without a series neither green nor 0."""
    found = show(WORKS, A=[now(7, family="ipv4", **GW), now(2, family="ipv6", **GW)])
    assert found == {"gw1 ipv4": [("NOT TRACKED", RED)], "gw1 ipv6": [("unknown", ORANGE)]}
    for tiles in (WORKS, panel("netfilter-fleet", "Not tracked")):
        assert show(tiles) == {"": [("no data", GREY)]}


def test_bars(show):
    """A share is a percentage, red from where the alert is critical."""
    assert show(FULLEST, A=[now(0.97, **GW)]) == {"gw1": [("97.0%", RED)]}


def test_bands(show):
    """Each query has its own words."""
    found = show(SINCE, A=[over_time(1, 7, family="ipv4", **GW)], D=[over_time(1, 0, **GW)])
    assert found["gw1 NAT ipv4"] == [("OK", GREEN), ("NOT TRACKED", RED)]
    assert found["gw1 exporter"] == [("up", GREEN), ("DOWN", RED)]


def test_lines(show):
    """A rate has the unit /s."""
    found = show(INVALID, A=[over_time(0, 12.5, **GW)])
    assert found == {"gw1": [("0 /s", GREEN), ("12.5 /s", ORANGE)]}


def test_a_broken_unit_is_seen(show):
    """The tests above would fail."""
    broken = copy.deepcopy(INVALID)
    broken["fieldConfig"]["defaults"]["unit"] = "suffix/s"
    assert show(broken, A=[over_time(12.5, **GW)])["gw1"][0].text != "12.5 /s"


def test_a_broken_mapping_is_seen(show):
    """Of a panel, of a query and of a column: the value is a number, or green."""
    broken = copy.deepcopy(WORKS)
    del broken["fieldConfig"]["defaults"]["mappings"][0]["options"]["7"]
    assert show(broken, A=[now(7, family="ipv4", **GW)])["gw1 ipv4"][0].text == "7"
    for whole, field in ((SINCE, "gw1 exporter"), (HOSTS, "State")):
        broken = copy.deepcopy(whole)
        for override in broken["fieldConfig"]["overrides"]:
            for item in override["properties"]:
                if item["id"] == "mappings":
                    item["value"] = []
        results = {"D": [over_time(0, **GW)]} if whole is SINCE else {"A": [now(0, **GW)]}
        assert show(broken, **results)[field][0].text == "0"
