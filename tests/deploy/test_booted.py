"""systemd itself runs the units, on a Debian that is booted: README's "Deploying", word for word.

What is done there, step by step, is in tests/kernel/lab/administrator.py.
"""

import re

import pytest

from lab import deployment, entered, machine, userland
from lab.service import REACHED
from support import debian, debian_package, needs, wheel
from support.attacks import claims, seen
from support.page import Page
from support.runbooks import GUEST, described, ended_in_guest, states

#: For a quarter of an hour in the guest, what is built and fetched before, and some patience.
LONG = 3600

pytestmark = [pytest.mark.lab, pytest.mark.timeout(LONG)]

#: include/uapi/linux/capability.h: CAP_NET_ADMIN
CAPABILITIES = 1 << 12
#: The same, and CAP_SYS_ADMIN.
HELPERS = CAPABILITIES | 1 << 21
VOLATILE = re.compile(
    r"duration|timestamp|netfilter_flows?[_{]|conntrack_entries |conntrack_count|ip_(in|out)"
    r"|^process_"
)
DYNAMIC = range(61184, 65520)  #: systemd's for DynamicUser=
RUNBOOKS = [state for state in states() if state.of(GUEST)]
REFUSED = "TimeoutError"  #: nothing answers, not even to say no


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """What each step found, by its name."""
    reason = machine.lacking()
    if not reason:
        try:
            return deployment.facts(tmp_path_factory.mktemp("booted"))
        except (debian.UnavailableError, userland.BuildError, wheel.BuildError) as error:
            reason = str(error)
    return needs.lacks(reason, forced=needs.KERNEL)


@pytest.fixture
def fact(facts):
    """A function that returns what a step found; the test fails where the step did."""

    def get(step):
        if step not in facts:
            pytest.fail(f"{step} was not reached: {facts.get(deployment.CRASH)}")
        assert "problem" not in facts[step], facts[step]["problem"]
        return facts[step]

    return get


def told(text):
    """Return the samples that only the host decides."""
    return {line for line in Page(text).lines() if not VOLATILE.search(line)}


def assert_everything_is_read(page):
    """Assert that no collector and no source lacks anything, and that it is all there."""
    statuses = [*page.samples("scrape_collector_status"), *page.samples("source_status")]
    met = [sample.labels for sample in statuses if sample.value]
    assert [labels for labels in met if labels["status"] not in {"ok", "no_data"}] == []
    assert {sample.value for sample in page.samples("scrape_collector_success")} == {1}
    assert {sample.value for sample in page.samples("nat_readable")} == {1}
    assert page.total("nat_rules", action="masquerade") == 3
    assert page.total("nat_rules", backend="legacy", action="masquerade") == 2
    for family in "ipv4", "ipv6":
        assert page.total("conntrack_tracking", family=family) == 1
    assert page.samples("module_info", state="unknown") == []
    # Of 6.1 nothing else is absent: it has no such module.
    absent = {sample.labels["module"] for sample in page.samples("module_info", state="absent")}
    assert absent <= {"nfnetlink_hook"}


def test_the_host_is_a_whole_one(fact):
    """systemd is the first process, and none of its own units has failed."""
    assert fact("booted")["systemd"].startswith("systemd ")
    assert fact("booted")["failed"] == ""


def test_the_service_needs_no_user_of_sysusers(fact):
    """The unit alone is enough: systemd makes up a user, who reads everything."""
    status = fact("without_user")["status"]
    assert {int(uid) in DYNAMIC for uid in status["Uid"].split()} == {True}
    assert_everything_is_read(Page(fact("without_user")["page"]))


def test_the_service_runs_with_one_capability(fact):
    """As the user of sysusers.conf, who can gain nothing, and with a filter on system calls."""
    found = fact("service")
    status = found["status"]
    assert found["user"] == "netfilter_exporter"
    for which in "CapEff", "CapPrm", "CapBnd":
        assert int(status[which], 16) == CAPABILITIES
    assert int(status["CapAmb"], 16) == 0
    assert status["Groups"].split()[0] == "0"
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert found["unit"] == {"ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0"}


def test_the_unit_hides_nothing(fact):
    """Its page says all that root's says who runs the command without the unit."""
    found = fact("service")
    assert told(found["confined"]) == told(found["free"])
    assert_everything_is_read(Page(found["confined"]))


def test_what_is_mounted_can_not_be_written(fact):
    """All but temporary folders of its own, terminals, and what of /proc is not a sysctl."""
    mounts = {}
    for line in fact("service")["mounts"].splitlines():
        _, _, _, _, place, options, *_ = line.split()
        mounts[place] = options.split(",")
    writable = {place for place, options in mounts.items() if "ro" not in options}
    writable -= {
        place for place in writable if place.startswith("/run/netns/")
    }  # they hold no file
    assert writable == {"/proc", "/dev/pts", "/dev/mqueue", "/tmp", "/var/tmp"}
    assert "ro" in mounts["/proc/sys"]
    assert "ro" in mounts["/sys"]


def test_what_the_unit_forbids(fact):
    """Another program in the very unit, with the same capability, gets no further than that."""
    met = fact("confined")["attempts"]
    assert {name for name, end in met.items() if end.startswith("done")} == {
        *("ruleset", "forwarding by netlink"),
        *("start of a program", "tcp socket", "legacy table", "interface"),
    }
    for name in "any sysctl", "any file of sysfs":
        assert set(met[name].split()) <= {"EACCES", "EROFS", "ELOOP"}
    for name in "shadow", "sudoers", "home", "hash size":
        assert "EACCES" in met[name]
    for name in "configuration", "program", "state", "what runs", "locks", "shared memory":
        assert met[name] == "EROFS"
    for name in "unix socket", "any socket", "abstract socket", "packet socket":
        assert met[name] == "EAFNOSUPPORT"
    for name in (
        *("signal", "user namespace", "mount", "module", "host name", "clock"),
        *("executable memory", "kernel log", "file handle"),
    ):
        assert met[name] == "EPERM"
    assert met["other processes"] == met["kernel messages"] == "ENOENT"
    # Another process of this user, which writes the page of the timer, may be there.
    assert met["root of a process"] in {"none found", "EACCES"}


@pytest.mark.parametrize(
    ("step", "column"), [("attempts", "unit, disabled"), ("sandboxed", "unit")]
)
def test_the_table_is_true_of_the_unit(fact, step, column):
    """With and without what the exporter gives up by itself."""
    assert seen(fact("confined")[step]) == claims(column)


def test_a_reload_takes_a_new_configuration(fact):
    """One that only root and its group may read; the process stays."""
    before, after = (Page(text) for text in fact("reload")["pages"])
    assert before.total("nat_expected", family="ipv4") == 0
    assert after.total("nat_expected", family="ipv4") == 1
    assert len(set(fact("reload")["pids"])) == 1


def test_a_reload_waits_for_the_process_to_start(fact):
    """It is not taken for the end of a terminal, and not lost."""
    before, after = fact("reload_at_once")["pids"]
    assert before == after
    assert "reloaded" in fact("reload_at_once")["log"]


def test_what_is_killed_is_started_again(fact):
    """By Restart=, without anybody's doing."""
    before, after = fact("killed")["pids"]
    assert 0 not in {before, after}
    assert before != after
    assert fact("killed")["unit"] == {"ActiveState": "active", "NRestarts": "1"}


@pytest.mark.parametrize("step", ["addresses", "sockets"])
def test_the_internet_is_not_answered(fact, step):
    """Private networks are; one public address is after README's drop-in, and no other.

    Of the service, and of the socket: whoever listens decides.
    """
    private = dict.fromkeys(("private", "private6"), REACHED)
    public = dict.fromkeys(("public", "public6"), REFUSED)
    found = fact(step)
    assert found["before"] == {**private, **public, "allowed": REFUSED}
    assert found["after"] == {**private, **public, "allowed": REACHED}


def test_nobody_is_refused_while_it_restarts(fact):
    """With the socket, who asks during a restart waits and is answered by the next process."""
    before, after = fact("sockets")["pids"]
    assert before != after
    assert "ConnectionRefusedError" not in fact("sockets")["asked"]
    assert fact("sockets")["asked"]["answered"] > 1


def status_of(page, **labels):
    """Return the status of a collector or a source."""
    (name,) = labels
    metric = {"collector": "scrape_collector_status", "source": "source_status"}[name]
    (found,) = {s.labels["status"] for s in page.samples(metric, **labels) if s.value}
    return found


def test_other_namespaces_require_the_drop_in(fact):
    """Without it their processes are hidden, and the collector says so; with it one is seen."""
    hidden, visible = (Page(fact("namespaces")[step]) for step in ("hidden", "visible"))
    assert status_of(hidden, collector="namespaces") == "denied"
    assert hidden.samples("netns_info") == []
    assert status_of(visible, collector="namespaces") == "ok"
    names = {sample.labels["netns"] for sample in visible.samples("netns_info")}
    assert entered.INHABITED in names
    assert entered.ROUTER not in names, "it has no process"
    assert visible.samples("netns_nat_rules") == []


def test_the_helper_enters_a_namespace_without_a_process(fact):
    """And the exporter, which serves its table and its rules, has its one capability still."""
    page = Page(fact("namespaces")["helped"])
    assert status_of(page, collector="namespaces") == "ok"
    assert status_of(page, source="netns_helper") == "ok"
    served = {
        family: page.total("netns_nat_rules", netns=entered.ROUTER, family=family)
        for family in ("ipv4", "ipv6")
    }
    assert served == {"ipv4": 1, "ipv6": 0}
    assert page.total("netns_conntrack_tracking", netns=entered.ROUTER, family="ipv4") == 1
    assert page.total("netns_conntrack_entries", netns=entered.ROUTER) == 1
    assert page.total("netns_conntrack_drop_total", netns=entered.ROUTER) == 0
    status = fact("namespaces")["statuses"]["netfilter_exporter.service"]
    for which in "CapEff", "CapPrm", "CapBnd":
        assert int(status[which], 16) == CAPABILITIES


def test_the_unit_of_the_helper(fact):
    """It runs as a user of its own, with two capabilities, a filter, and less than 10 MB."""
    found = fact("namespaces")
    status = found["statuses"]["netfilter_exporter-netns.service"]
    assert int(status["Uid"].split()[0]) in DYNAMIC
    for which in "CapEff", "CapPrm", "CapBnd":
        assert int(status[which], 16) == HELPERS
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert int(status["VmRSS"].split()[0]) <= 10_000
    assert found["helper"] == {"ActiveState": "active", "NRestarts": "0"}
    assert float(re.search(r"level for \S+: ([\d.]+)", found["unit"])[1]) <= 1.8


@pytest.mark.parametrize(
    ("step", "reason"),
    [("stopped", "not running: "), ("impostor", "run by uid 65534; expected uid 0")],
)
def test_who_is_not_the_helper_is_an_error(fact, step, reason):
    """The log has the reason, and what has a process is served all the same."""
    page, log = Page(fact("namespaces")[step]["page"]), fact("namespaces")[step]["log"]
    assert reason in log
    assert status_of(page, source="netns_helper") == "error"
    assert page.samples("netns_info", netns=entered.INHABITED)
    assert page.samples("netns_nat_rules") == []


def test_the_helper_is_found_again(fact):
    """Once it is started, with nothing to do for the exporter."""
    page = Page(fact("namespaces")["again"])
    assert page.total("netns_nat_rules", netns=entered.ROUTER, family="ipv4") == 1


def test_node_exporter_serves_the_page(fact):
    """The one of Debian, through README's link, as a user of its own."""
    found = fact("textfile")
    page = Page(found["node"])
    assert re.search(r"^node_textfile_scrape_error 0$", found["node"], re.MULTILINE)
    assert_everything_is_read(page)
    assert found["owner"] == "netfilter_exporter"


def test_the_page_is_written_every_minute(fact):
    """The timer is on, has started the service twice, and will again after a minute."""
    found = fact("textfile")
    assert found["timer"] == {"ActiveState": "active", "UnitFileState": "enabled"}
    (timer,) = found["timers"]
    assert 55 < (timer["next"] - timer["last"]) / 1e6 < 66


@pytest.fixture
def packaged(fact):
    """What became of the Debian package, by step; skipped on a host of another suite."""
    if reason := debian_package.lacking():
        pytest.skip(reason)
    return lambda step: fact(f"package_{step}")


def test_the_package_serves_at_once(packaged):
    """With the unit and the user, and the suite's libraries: there are no others any more.

    The host is as the last runbook has left it: what is read is less, but nothing is denied.
    """
    found = packaged("installed")
    page = Page(found["page"])
    statuses = [*page.samples("scrape_collector_status"), *page.samples("source_status")]
    assert len(statuses) > 10
    assert not {s.labels["status"] for s in statuses if s.value} & {"denied", "error"}
    assert found["user"] == "netfilter_exporter"
    assert int(found["status"]["CapEff"], 16) == CAPABILITIES
    assert found["units"] == {
        "netfilter_exporter.service": {"ActiveState": "active", "UnitFileState": "enabled"},
        "netfilter_exporter.socket": {"ActiveState": "inactive", "UnitFileState": "disabled"},
        "netfilter_exporter-textfile.timer": {
            "ActiveState": "inactive",
            "UnitFileState": "disabled",
        },
    }


def test_the_packages_other_units_are_for_the_taking(packaged):
    """The socket in place of the service, and the timer."""
    _, *chosen = packaged("chosen")["units"].values()
    assert chosen == [{"ActiveState": "active", "UnitFileState": "enabled"}] * 2
    assert packaged("chosen")["written"]


@pytest.mark.parametrize("when", ["removed", "purged"])
def test_nothing_of_the_package_runs_afterwards(packaged, when):
    """What an administrator has chosen is stopped, too."""
    found = packaged(when)
    assert found["processes"] == []
    assert not found["answers"]
    assert {unit["ActiveState"] for unit in found["units"].values()} == {"inactive"}


def test_a_purge_leaves_no_trace(packaged):
    """No file is new, none of /etc has changed, the user is gone, and so are the units."""
    found = packaged("purged")
    assert (found["new"], found["changed"], found["user"]) == ([], [], False)
    assert {unit["LoadState"] for unit in found["units"].values()} == {"not-found"}


@pytest.mark.parametrize("state", RUNBOOKS, ids=lambda state: state.runbook)
def test_commands_of_runbooks_do_what_is_said(fact, state):
    """Those that act on a whole machine; no other loads a module or creates a table."""
    cases, results = state.of(GUEST), fact(state.runbook)["ended"]
    assert len(cases) == len(results)
    ended = [ended_in_guest(result) for result in results]
    wrong = [found for found in map(described, cases, ended) if found]
    assert not wrong, "\n".join(wrong)
