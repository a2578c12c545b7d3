"""Real programs that write NAT: quiet while they work, and seen when they break as users know.

Each is started on a host of its own as its users start it, with flows through it. Those that cannot
start fail. --update-golden writes the table in the README.md of this folder.
"""

import pytest

from stage import matrix, run
from stage.program import states
from support import needs, readme

STATES = states()
TOOLS = ("ip", "nft", "iptables-legacy", "unshare", "chroot", "promtool", "dpkg-deb")

#: The first test runs them all, and fetches packages before that.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def found(request, tmp_path_factory):
    """What came of each state that a test was chosen for."""
    lacking = None if needs.E2E else needs.root_and(*TOOLS)
    if lacking:
        pytest.skip(lacking)
    chosen = [
        item.callspec.params["state"]
        for item in request.session.items
        if item.path.name == "test_programs.py" and hasattr(item, "callspec")
    ]
    with needs.packages():
        came = run.run(chosen, tmp_path_factory.mktemp("programs"))
    if request.config.getoption("--update-golden"):
        readme.write("programs", matrix.table(came.outcomes, came.versions))
    return came


@pytest.mark.parametrize("state", STATES, ids="/".join)
def test_a_fault_is_seen_and_a_healthy_host_is_quiet(found, state):
    """Exactly the alerts of a state fire, and rules are counted as the program lists them."""
    assert not found.outcomes[state].reasons, "\n".join(found.outcomes[state].reasons)


def test_healthy_hosts_are_quiet_without_a_role(found):
    """Nothing fires where nobody has configured what the host is for."""
    assert not found.without


def test_the_committed_list():
    """README names every state of every program, in the order in which they are run."""
    assert matrix.rows(readme.PLACES["programs"].read_text()) == STATES
