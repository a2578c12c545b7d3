"""flows/look.py and flows/sampler.py: which source is read, and what a look that fails means."""

import collections
import contextlib
import threading
import time

import pytest

from netfilter_exporter.flows import look as look_module
from netfilter_exporter.flows.look import Look, Looker
from netfilter_exporter.flows.observer import Settings
from netfilter_exporter.flows.sampler import FlowSampler
from netfilter_exporter.flows.scope import Routes
from netfilter_exporter.kernel.conntrack.flow import Reading
from netfilter_exporter.kernel.errors import Denied, Inconclusive, NoData, ReadError, TimedOut
from netfilter_exporter.kernel.files import Paths


def reading(*keys, origin="ctnetlink", laborious=False):
    return Reading(origin, keys, collections.Counter(), keys.__getitem__, True, laborious)


class Kernel:
    """The sources that a `Looker` may read, and which of them it read."""

    def __init__(self, tmp_path, monkeypatch):
        self._sysctls = tmp_path / "sys/net/netfilter"
        self._sysctls.mkdir(parents=True)
        self.asked = []
        self.refused = None  #: why ctnetlink must not be asked
        self.laborious = False
        self.procfs = reading(b"k", origin="procfs")
        monkeypatch.setattr(look_module, "read_ctnetlink", self._ctnetlink)
        monkeypatch.setattr(look_module, "read_procfs", self._procfs)
        self.looker = Looker(Paths(str(tmp_path), "/nowhere", "/nowhere"), self._open)

    def has(self, **numbers):
        for name, number in numbers.items():
            path = self._sysctls / f"nf_conntrack_{name}"
            path.unlink(missing_ok=True) if number is None else path.write_text(f"{number}\n")
        return self

    def _open(self):
        if self.refused:
            raise self.refused
        return "connection"

    def _ctnetlink(self, connection, size):
        assert (connection, size) == ("connection", 1000)
        self.asked.append("ctnetlink")
        return reading(b"k", laborious=self.laborious)

    def _procfs(self, _, size):
        assert size == 1000
        self.asked.append("procfs")
        if isinstance(self.procfs, ReadError):
            raise self.procfs
        return self.procfs

    def look(self):
        self.asked.clear()
        self.looker.look(1000)
        return self.asked


@pytest.fixture(name="kernel")
def _kernel(tmp_path, monkeypatch):
    return Kernel(tmp_path, monkeypatch)


def test_a_table_without_entries_is_not_read(kernel):
    """A dump would walk every bucket of it."""
    kernel.has(count=0, buckets=1 << 18)
    assert kernel.look() == []
    assert kernel.looker.look(1000).reading.complete


def test_a_dense_table_is_read_from_ctnetlink(kernel):
    """It tells flows apart better, and older kernels read it faster."""
    assert kernel.has(count=40000, buckets=1 << 18).look() == ["ctnetlink"]


@pytest.mark.parametrize("refused", [None, NoData("not loaded"), Inconclusive("unknown")])
def test_a_sparse_table_is_never_read_from_ctnetlink(kernel, refused):
    """One receive would walk thousands of empty buckets with softirqs off."""
    kernel.refused = refused
    assert kernel.has(count=30000, buckets=1 << 18).look() == ["procfs"]
    kernel.procfs = NoData("compiled out")
    with pytest.raises(NoData):
        kernel.looker.look(1000)
    assert "ctnetlink" not in kernel.asked


@pytest.mark.parametrize("refused", [NoData("not loaded"), Inconclusive("unknown")])
def test_where_asking_may_load_a_module_the_file_serves(kernel, refused):
    """A stock gateway has no nf_conntrack_netlink."""
    kernel.refused = refused
    assert kernel.has(count=40000, buckets=1 << 18).look() == ["procfs"]


def test_what_is_denied_is_not_hidden(kernel):
    """A missing capability is a status."""
    kernel.refused = Denied("no")
    with pytest.raises(Denied):
        kernel.has(count=40000, buckets=1 << 18).look()


def test_a_table_shared_with_many_foreign_flows_is_read_from_the_file(kernel):
    """For a while: the flows of other namespaces may go."""
    kernel.has(count=40000, buckets=1 << 18)
    kernel.laborious = True
    assert kernel.look() == ["ctnetlink"]
    kernel.laborious = False
    seen = [kernel.look()[0] for _ in range(80)]
    assert seen[:50] == ["procfs"] * 50
    assert seen[-1] == "ctnetlink"


def test_without_a_number_of_buckets_the_file_is_read(kernel):
    """How sparse the table is cannot be seen."""
    assert kernel.has(count=40000, buckets=None).look() == ["procfs"]


def test_a_module_that_is_gone_is_no_data(kernel):
    """nf_conntrack was unloaded."""
    with pytest.raises(NoData):
        kernel.has(count=None).look()


def test_a_resize_during_a_look_is_no_reading(kernel, monkeypatch):
    """Its order is that of two tables."""
    kernel.has(count=40000, buckets=1 << 18)
    monkeypatch.setattr(
        look_module, "read_ctnetlink", lambda *_: kernel.has(buckets=1 << 19) and reading(b"k")
    )
    with pytest.raises(NoData, match="resized"):
        kernel.looker.look(1000)


def test_the_smaller_count_is_the_scale(kernel, monkeypatch):
    """Entries that have expired count until they are removed; there are as many as were seen."""
    kernel.has(count=40000, buckets=1 << 18)
    monkeypatch.setattr(
        look_module, "read_ctnetlink", lambda *_: kernel.has(count=39000) and reading(b"k")
    )
    assert kernel.looker.look(1000).entries == 39000
    kernel.has(count=1)
    monkeypatch.setattr(look_module, "read_procfs", lambda *_: reading(b"a", b"b", origin="procfs"))
    assert kernel.looker.look(1000).entries == 2


# -- the sampler -------------------------------------------------------------------------------


class Script:
    """A looker that plays what a test says, the last again and again."""

    def __init__(self, *looks):
        self.looks = list(looks)

    def look(self, _):
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        return look


@contextlib.contextmanager
def no_routes():
    yield Routes(lambda _: None)


def sampler(*looks, **settings):
    return FlowSampler(Script(*looks), no_routes, Settings(**settings))


def seen(*keys, buckets=64, origin="ctnetlink"):
    return Look(reading(*keys, origin=origin), len(keys), buckets)


def test_before_the_first_look_there_is_no_data():
    """Not a zero."""
    with pytest.raises(NoData):
        sampler(seen()).current()


def test_a_look_that_fails_is_the_status():
    """What the look before saw is not served again."""
    found = sampler(seen(), NoData("unloaded"), seen())
    found.look()
    assert found.current().entries == 0
    found.look()
    with pytest.raises(NoData, match="unloaded"):
        found.current()
    found.look()
    assert found.current().entries == 0


def test_a_defect_is_an_error_and_the_next_look_is_taken():
    """It has its cause, for the log."""
    found = sampler(ValueError("a defect"), seen())
    found.look()
    with pytest.raises(ReadError, match="a defect") as caught:
        found.current()
    assert isinstance(caught.value.__cause__, ValueError)
    found.look()
    assert found.current().entries == 0


def test_a_resized_table_starts_anew():
    """And so does one that was unloaded in between: no entry is a birth then."""
    keys = [str(n).encode() for n in range(50)]
    found = sampler(seen(buckets=64), seen(*keys, buckets=128))
    found.look()
    found.look()
    assert found.current().births == {}


def test_an_old_sample_is_a_timeout(monkeypatch):
    """A thread that hangs must not look like a quiet night."""
    found = sampler(seen(), interval=15.0)
    found.look()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 40.0)
    assert found.current().entries == 0
    monkeypatch.setattr(time, "monotonic", lambda: now + 60.0)
    with pytest.raises(TimedOut, match="60 s ago"):
        found.current()


def test_a_clock_that_is_set_changes_nothing(monkeypatch):
    """Only the timestamp follows it."""
    found = sampler(seen())
    monkeypatch.setattr(time, "time", lambda: 5.0)
    found.look()
    assert found.current().timestamp == 5.0


def test_looks_stay_below_their_share(monkeypatch):
    """A look that costs 0.3 s is taken once a minute."""
    found = sampler(seen(), interval=15.0)
    times = iter([0.0, 0.3])
    monkeypatch.setattr(time, "thread_time", lambda: next(times))
    found.look()
    assert found._interval == pytest.approx(0.3 / 0.005)
    times = iter([1.0, 1.01])
    found.look()
    assert found._interval == 15.0


def test_the_thread_looks_until_it_is_closed():
    """At once, and then every interval."""
    found = sampler(seen(), interval=0.01)
    threads = threading.active_count()
    found.start()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with contextlib.suppress(NoData):
            found.current()
            break
        time.sleep(0.01)
    found.close()
    while threading.active_count() > threads and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() == threads
    assert found.current().entries == 0
