"""kernel/netns/, netns/ and the collector: other network namespaces of the host."""

import contextlib
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter import collectors, flags
from netfilter_exporter.check.alerts import ALERTS
from netfilter_exporter.check.context import Context
from netfilter_exporter.check.namespace_watch import ALL, NamespaceWatch, Watched
from netfilter_exporter.check.report import evaluate
from netfilter_exporter.collection import collect
from netfilter_exporter.collectors.namespaces import COLLECTOR, LIMIT
from netfilter_exporter.facts.conntrack import conntrack_limit
from netfilter_exporter.facts.namespaces import namespace_sampler
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel.conntrack.statistics import parse_entries
from netfilter_exporter.kernel.errors import Denied, Malformed, ReadError, Status
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.attributes import pack
from netfilter_exporter.kernel.netns import ids
from netfilter_exporter.kernel.netns.cgroup import Owner, parse_cgroup
from netfilter_exporter.kernel.netns.processes import read_inhabited
from netfilter_exporter.kernel.system import System
from netfilter_exporter.netns.sampler import Namespace, Sample
from netfilter_exporter.netns.selection import Selection
from support.checks import scrape
from support.page import collected

ID = "0123456789abcdef" * 4
BY_HISTORY = {each.name for each in ALERTS if each.check is None}
UID = "11111111-2222-3333-4444-555555555555"

HEADER = "entries  invalid insert_failed drop early_drop"


def statistics(entries, insert_failed=0, drop=0):
    """Return /proc/net/stat/nf_conntrack of two CPUs, the second without any failure."""
    rows = [(entries, 0, insert_failed, drop, 0), (entries, 0, 0, 0, 0)]
    return "\n".join([HEADER, *(" ".join(f"{n:08x}" for n in row) for row in rows), ""])


class Proc:
    """A procfs with processes, as far as it is read."""

    def __init__(self, folder):
        self.folder = folder / "proc"
        self.paths = Paths(str(self.folder), str(folder / "sys"), str(folder / "root"))
        self.process(1)

    def process(self, pid, content=None, cgroup=""):
        """Add a process; the inode of a folder is its alone, as that of a namespace is."""
        process = self.folder / str(pid)
        (process / "net/stat").mkdir(parents=True)
        (process / "cgroup").write_text(cgroup)
        if content is not None:
            (process / "net/stat/nf_conntrack").write_text(content)
        return process

    def share(self, pid, other):
        """Add a process in the namespace of another."""
        process = self.folder / str(pid)
        process.mkdir()
        (process / "net").symlink_to(self.folder / str(other) / "net")
        (process / "cgroup").write_text("")

    def host(self):
        return Host(System(paths=self.paths))


@pytest.fixture(name="proc")
def _proc(tmp_path):
    return Proc(tmp_path)


def looked(host, selection=None):
    """Look once, and return the samples of the collector and its status."""
    sampler = namespace_sampler(host)
    sampler.select(selection or Selection())
    sampler.look()
    return collected(COLLECTOR, host)


@pytest.mark.parametrize(
    ("line", "owner"),
    [
        ("0::/init.scope", Owner()),
        (f"0::/system.slice/docker-{ID}.scope", Owner(ID)),
        (f"12:cpu:/docker/{ID}\n0::/", Owner(ID)),
        (f"0::/machine.slice/libpod-{ID}.scope/container", Owner(ID)),
        ("0::/lxc.payload.web1/init.scope", Owner("web1")),
        ("4:memory:/lxc/web1", Owner("web1")),
        (f"0::/kubepods/besteffort/pod{UID}/{ID}", Owner(ID, UID)),
        (
            f"0::/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-{ID}.scope",
            Owner(ID, UID),
        ),
        (f"0::/kubepods/pod{ID[:32]}/{ID}", Owner(ID, ID[:32])),
        (f"0::/a{ID}", Owner()),
    ],
)
def test_a_control_group_names_container_and_pod(line, owner):
    """As Docker, Podman, LXC and the kubelet write them; a longer number is none of theirs."""
    assert parse_cgroup(f"{line}\n".encode()) == owner


def test_a_container_of_lxc_has_a_name():
    """An ID is none."""
    assert [Owner(text).name for text in ("web1", ID, "")] == ["web1", "", ""]


@given(st.binary())
def test_any_bytes_have_an_owner_or_none(content):
    """No content of a file is an error."""
    assert all(isinstance(part, str) for part in parse_cgroup(content))


@pytest.mark.parametrize(("number", "found"), [(-1, None), (0, 0), (7, 7)])
def test_a_namespace_without_a_number_has_none(number, found):
    """NETNSA_NSID_NOT_ASSIGNED is -1."""
    message = b"\0" * 4 + pack(ids.NETNSA_NSID, struct.pack("=i", number))
    assert ids.parse_number(memoryview(message)) == found


@given(st.binary())
def test_any_message_is_a_number_or_an_error(content):
    """Nothing else comes out."""
    with contextlib.suppress(ReadError):
        assert ids.parse_number(memoryview(content)) is not None or content


@pytest.mark.parametrize("content", [b"", b"entries\n", b"x y\n1 2\n", b"entries a\n123456789 0\n"])
def test_entries_are_read_or_refused(content):
    """Of a file of another form nothing is guessed."""
    with pytest.raises(Malformed):
        parse_entries(content, "x")
    assert parse_entries(statistics(0x1F).encode(), "x") == 0x1F


def test_each_namespace_is_read_once(proc):
    """By the process with the least number; those of one namespace are not told apart."""
    proc.process(20, statistics(7, insert_failed=2, drop=3), f"0::/docker/{ID}\n")
    proc.share(10, 20)
    proc.process(30, statistics(9))
    rows, status = looked(proc.host())
    by_entries = {value: labels[0] for labels, value in rows["netns_conntrack_entries"].items()}
    assert by_entries.keys() == {7, 9}
    seven = (by_entries[7],)
    assert rows["netns_conntrack_drop_total"][seven] == 3
    assert rows["netns_conntrack_insert_failed_total"][seven] == 2
    assert rows["netns_conntrack_early_drop_total"][seven] == 0
    assert (*seven, "", "") in rows["netns_info"], "10 is in no container, and has the least number"
    assert status is Status.OK


def test_a_container_of_lxc_goes_by_its_name(proc):
    """It keeps that when it starts again. Another namespace within goes by its inode number."""
    proc.process(20, statistics(7), "0::/lxc.payload.web1/init.scope\n")
    proc.process(30, statistics(8), "0::/lxc.payload.web1/system.slice/private.service\n")
    proc.process(40, statistics(9), "0::/lxc.payload.web2\n")
    rows, _ = looked(proc.host())
    by_entries = {value: labels[0] for labels, value in rows["netns_conntrack_entries"].items()}
    assert (by_entries[7], by_entries[9]) == ("web1", "web2")
    assert by_entries[8].isdigit()


def test_a_namespace_that_is_gone_is_not_served(proc):
    """It is absent from the next sample on, and so is its memory of counters."""
    process = proc.process(20, statistics(7))
    host = proc.host()
    assert len(looked(host)[0]["netns_conntrack_entries"]) == 1
    (process / "net/stat/nf_conntrack").unlink()
    (process / "net/stat").rmdir()
    rows, status = looked(host)
    assert all(not samples for samples in rows.values() if 7 in samples.values())
    assert rows["netns_conntrack_entries"] == {}
    assert status is Status.OK


def test_a_process_number_that_is_used_again_is_another_namespace(proc):
    """What is read for one namespace is never served as another's."""
    process = proc.process(20, statistics(7))

    def name_of(pid):
        if pid == 20:
            (process / "net").rename(process / "old")
            (process / "net/stat").mkdir(parents=True)

    assert [each.pid for each in read_inhabited(proc.paths, name_of)] == [1]


def test_without_the_core_there_are_no_entries(proc):
    """A namespace stands in netns_info all the same."""
    proc.process(20)
    rows, status = looked(proc.host())
    assert len(rows["netns_info"]) == 2
    assert rows["netns_conntrack_entries"] == rows["netns_conntrack_drop_total"] == {}
    assert status is Status.OK


def test_a_wrap_is_absorbed(proc):
    """Counters of 32 bits go on, for each namespace by itself."""
    process = proc.process(20, statistics(1, drop=0xFFFFFFF0))
    host = proc.host()
    looked(host)
    (process / "net/stat/nf_conntrack").write_text(statistics(1, drop=0x10))
    assert list(looked(host)[0]["netns_conntrack_drop_total"].values()) == [0x100000010]


@pytest.mark.parametrize("hidden", ["absent", "closed"])
def test_hidden_processes_are_denied(proc, hidden):
    """Where process 1 cannot be seen (hidepid), no number is served and the status says so."""
    proc.process(20, statistics(7))
    if hidden == "absent":
        (proc.folder / "1").rename(proc.folder / "other")
    else:
        (proc.folder / "1/net/stat").rmdir()
        (proc.folder / "1/net").rmdir()
        (proc.folder / "1/net").symlink_to("net")  # ELOOP, for root may read what is closed
    rows, status = looked(proc.host())
    assert all(samples == {} for samples in rows.values())
    assert status is Status.DENIED


def test_a_pid_namespace_of_a_container_is_denied(monkeypatch):
    """It shows the processes of the container: no namespace would look like none on the host."""
    monkeypatch.setattr("os.getpid", lambda: 1)
    with pytest.raises(Denied, match="PID namespace"):
        read_inhabited(Paths(), lambda _: None)


def test_names_of_a_foreign_procfs_are_not_asked_for(proc):
    """The kernel takes a number as one of our PID namespace."""
    (proc.folder / "self").mkdir()
    status = proc.folder / "self/status"
    status.write_text("Pid:\t7\nNSpid:\t7\n")
    assert ids.shares_pids(proc.paths)
    status.write_text("Pid:\t7\nNSpid:\t7\t1\n")
    assert not ids.shares_pids(proc.paths)
    status.write_text("Pid:\t7\n")
    assert not ids.shares_pids(proc.paths)


@pytest.mark.parametrize(
    ("include", "exclude", "has"),
    [
        (None, None, {"qrouter-1", "qdhcp-1", "402"}),
        ("qrouter-.*", None, {"qrouter-1"}),
        ("router", None, set()),
        (None, "q.*", {"402"}),
        ("q.*", "qdhcp-.*", {"qrouter-1"}),
    ],
)
def test_patterns_match_whole_names(include, exclude, has):
    """What is excluded is so although it is included."""
    selection = Selection(*(pattern and re.compile(pattern) for pattern in (include, exclude)))
    assert set(filter(selection.has, ("qrouter-1", "qdhcp-1", "402"))) == has


def test_what_the_patterns_leave_out_is_not_served(proc):
    """Patterns are those of the flags."""
    proc.process(20, statistics(7))
    rows, status = looked(proc.host(), Selection(exclude=re.compile("[0-9]+")))
    assert all(samples == {} for samples in rows.values())
    assert status is Status.OK


def test_at_most_512_are_served(proc):
    """The rest is counted, metric by metric."""
    for pid in range(10, 10 + LIMIT + 5):
        proc.process(pid, statistics(pid))
    host = proc.host()
    namespace_sampler(host).look()
    outcome = collect(COLLECTOR, host.snapshot(10))
    assert {len(samples) for _, samples in outcome.families if samples} == {LIMIT}
    assert outcome.omitted["netfilter_netns_conntrack_entries"] == 5
    assert outcome.omitted["netfilter_netns_info"] == 6, "process 1 has no table"


def test_before_the_first_look_there_is_no_data(proc):
    """Which is no failure."""
    rows, status = collected(COLLECTOR, proc.host())
    assert all(samples == {} for samples in rows.values())
    assert status is Status.NO_DATA


def parsed(*arguments):
    return flags.parse([*arguments, "--config.check"], collectors.load())


def test_the_collector_is_opt_in():
    """No host reads other namespaces unless a flag says so."""
    assert "namespaces" not in parsed().collectors
    assert "namespaces" in parsed("--collector.namespaces").collectors
    assert parsed("--collector.disable-defaults").collectors == ()
    chosen = parsed("--netns.include=q.*", "--netns.exclude=qdhcp-.*").netns
    assert chosen.has("qrouter-1")
    assert not chosen.has("qdhcp-1")


def test_a_pattern_that_is_none_is_wrong_usage(capsys):
    """It is said which, and why."""
    with pytest.raises(SystemExit):
        parsed("--netns.include=(")
    assert "'(' is not a pattern" in capsys.readouterr().err


@pytest.mark.parametrize("user", ["nobody-of-this-name", "²", ""])
def test_a_user_that_is_none_is_wrong_usage(capsys, user):
    """A digit that is not ASCII is not a number."""
    with pytest.raises(SystemExit):
        parsed(f"--netns.helper-user={user}")
    assert f"{user!r} is not a user" in capsys.readouterr().err


# -- check ---------------------------------------------------------------------------------------


@pytest.fixture(name="checked")
def _checked(fake_host):
    """Return a function that checks a recorded host with other namespaces."""
    run = scrape(fake_host("6.18/nat-nft"))
    limit = conntrack_limit(run.snapshot)

    def check(now, before=None, error=None, **of_helper):
        def sample(totals):
            found = tuple(Namespace(n, Owner(), int(e * limit), t) for n, e, t in totals)
            return Sample(found, **of_helper)

        watched = Watched(sample(now), sample(before) if before else None, 2.0, error)
        report = evaluate(Context(run, namespaces=watched))
        return {
            (each.alert.removeprefix("NetfilterNetns"), each.severity.value): each
            for each in report.findings
            if "Netns" in each.alert and each.alert not in BY_HISTORY
        }

    return check


def test_nobody_who_names_no_namespace_hears_of_them(fake_host):
    """The alerts stand in no part of the report."""
    report = evaluate(Context(scrape(fake_host("6.18/nat-nft"))))
    assert not [each for each in report.findings if "Netns" in each.alert]
    assert not [name for name in report.silent if "Netns" in name]


@pytest.mark.parametrize(
    ("fill", "found"),
    [(0.5, set()), (0.9, {"warning"}), (0.99, {"critical"})],
)
def test_a_table_is_filling_where_its_alert_says_so(checked, fill, found):
    """Each namespace against the one limit; the remedy lists the sources inside."""
    findings = checked([("qrouter-1", fill, {}), ("qrouter-2", 0.1, {})])
    assert {severity for _, severity in findings} == found
    for each in findings.values():
        assert each.evidence["netns"] == "qrouter-1"
        assert any("ip netns exec qrouter-1 conntrack -L" in line for line in each.remedy)


def test_drops_count_without_races(checked):
    """Over the time between two looks; a namespace that is new has no rate."""
    before = [("a", 0.1, {"drop": 5, "insert_failed": 5}), ("b", 0.1, {"drop": 5})]
    now = [
        ("a", 0.1, {"drop": 9, "insert_failed": 9}),
        ("b", 0.1, {"drop": 9, "insert_failed": 0}),
        ("c", 0.1, {"drop": 9}),
    ]
    (found,) = checked(now, before).values()
    assert found.evidence["netns"] == "b"
    assert found.severity.value == "critical"
    assert checked(now) == {}


def test_namespaces_that_are_unknown_are_no_ok(checked):
    """A name that no namespace has, and processes that are hidden, are unknown."""
    assert set(checked([])) == {("TableFilling", "unknown")}
    hidden = checked([], error=Denied("hidden"))
    assert set(hidden) == {("TableFilling", "unknown"), ("Dropping", "unknown")}


def test_a_helper_that_does_not_help_is_no_ok(checked):
    """What is checked all the same is; with one that does, a namespace requires no process."""
    found = checked([("a", 0.99, {})], has_helper=True, helper_error=Denied("refused"))
    assert found["TableFilling", "unknown"].summary == "Unknown: refused"
    assert ("TableFilling", "critical") in found
    (found,) = checked([], has_helper=True).values()
    assert "process" not in found.summary


def test_the_watch_takes_the_namespace_of_a_name(proc):
    """Or all of them; the second look has the first to compare with."""
    process = proc.process(20, statistics(7, drop=1))
    inode = str((process / "net/stat").stat().st_ino)
    system = System(paths=proc.paths)
    watch = NamespaceWatch(system, inode)
    assert watch.look().before is None
    (process / "net/stat/nf_conntrack").write_text(statistics(7, drop=4))
    watched = watch.look()
    assert [each.name for each in watched.now.namespaces] == [inode]
    assert watched.now.namespaces[0].totals["drop"] == 4
    assert watched.before.namespaces[0].totals["drop"] == 1
    assert len(NamespaceWatch(system, ALL).look().now.namespaces) == 2
    assert NamespaceWatch(system, "none").look().now.namespaces == ()
