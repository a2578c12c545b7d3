"""Real exporters, a real Prometheus, faults: every query of the dashboards has an answer."""

import boards
import hosts
import live
import pytest

from support import debian

#: Every suite that has another generation of Prometheus: 2.42 and 3.5.
SUITES = {"bookworm": "2.", "sid": "3."}
FILL_SECONDS, SHOW_SECONDS = 12, 25

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=SUITES)
def broken(request, tmp_path_factory):
    """A fleet whose hosts were healthy for a while, and are no more, and when that began."""
    folder = tmp_path_factory.mktemp(request.param)
    try:
        version = debian.version(debian.fetch(request.param, ["prometheus"])["prometheus"])
    except debian.UnavailableError as error:
        pytest.skip(str(error))
    assert version.startswith(SUITES[request.param])
    with live.fleet(request.param, folder, live.quick_rules(folder)) as fleet:
        hosts.router_traffic(fleet.router, seconds=FILL_SECONDS + SHOW_SECONDS + 60, per_second=20)
        yield live.Broken(fleet, FILL_SECONDS, SHOW_SECONDS)
