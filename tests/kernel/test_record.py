"""tests/record: what is recorded is the host that it was recorded on."""

import pytest

from lab import machine, record, witness
from support import needs, page, recording
from support.claims import false_claims
from support.host import FakeHost

MODEL = "6.1/nat-nft"
LONG = 600


@pytest.fixture
def captures(tmp_path, monkeypatch):
    """A folder for recordings, with the model among them."""
    folder = tmp_path / "captures"
    for name in (MODEL, "6.1/static"):
        copy = folder / f"{name}.ttar"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((recording.CAPTURES / f"{name}.ttar").read_bytes())
    monkeypatch.setattr(recording, "CAPTURES", folder)
    recording._entries.cache_clear()
    yield
    recording._entries.cache_clear()


def is_a_host(name, folder):
    """Scrape a recording; what is known of the host stands on the page, and all was answered."""
    host = FakeHost(name, str(folder / "host"))
    made = page.make(host)
    assert list(false_claims(made, host)) == []
    assert (host.kernel.harm, host.kernel.unknown) == ([], [])
    assert host.recording.recorder == witness.RECORDER
    assert host.facts["tracked_ipv4"] == "yes"


def recorded():
    """Return the one name that is new."""
    recording._entries.cache_clear()
    (found,) = [name for name in recording.names() if name != MODEL]
    return found


@pytest.mark.skipif(not witness.is_harmless(), reason="this kernel can load modules: use --suite")
@pytest.mark.usefixtures("captures")
def test_a_namespace_is_recorded(tmp_path):
    """The running kernel is brought into the state of another recording, and can be scraped."""
    assert record.main(["--here", "--like", MODEL, "again"]) == 0
    is_a_host(recorded(), tmp_path)


@pytest.mark.lab
@pytest.mark.timeout(LONG)
@pytest.mark.usefixtures("captures")
def test_a_machine_is_recorded(tmp_path):
    """So is a kernel of Debian's, in the initial namespace of a machine of its own."""
    reason = machine.lacking()
    if reason:
        needs.lacks(reason, forced=needs.KERNEL)
    with needs.packages(forced=needs.KERNEL):
        assert record.main(["--suite", "bullseye", "--like", MODEL, "again"]) == 0
    name = recorded()
    is_a_host(name, tmp_path)
    assert recording.load(name).modular
