"""config/reload.py and config/reload_status.py: a bad configuration changes nothing."""

import asyncio
import contextlib
import http.client
import re
import signal

import pytest

from netfilter_exporter import collectors
from netfilter_exporter.collection import Gatherer
from netfilter_exporter.config.model import Config, ConfigError, Nat, Role
from netfilter_exporter.config.reload import Reloader
from netfilter_exporter.config.reload_status import ReloadStatus
from netfilter_exporter.exporter_metrics import page_families
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.system import System
from netfilter_exporter.web.http import Request
from netfilter_exporter.web.lifecycle import ReloadPage
from netfilter_exporter.web.web_file import WebFile
from support.process import ANY_PORT, get, running
from support.serving import collector

STATISTICS = "entries insert_failed drop\n00000001 00000000 {:08x}\n"


@pytest.fixture
def files(tmp_path):
    """Two configuration files, both good."""
    config, web = tmp_path / "config.yml", tmp_path / "web.yml"
    config.write_text("nat: required\n")
    web.write_text("rate_limit: {interval: 1ms, burst: 1000}\n")
    return config, web


# -- in one process ----------------------------------------------------------------------------


def reload(config, web, loads, change):
    """Start, change a file and reload as a request does; return the response and what it did."""
    applied = []

    async def run():
        web_file = WebFile(str(web))
        web_file.reload_status = loads
        reloader = Reloader(str(config), web_file.reload, applied.append, loads)
        change()
        response = await ReloadPage(reloader.reload)(
            Request("POST", "/-/reload", "", {"host": "a"})
        )
        return response, applied, web_file.current().config.rate_limit.burst

    return asyncio.run(run())


def test_both_files_are_read_again(files):
    """What is good is applied."""
    config, web = files
    loads = ReloadStatus()
    response, applied, burst = reload(
        config, web, loads, lambda: web.write_text("rate_limit: {interval: 1ms, burst: 2000}\n")
    )
    assert (response.status, response.body) == (200, b"reloaded configuration\n")
    assert applied == [Config(Nat(ipv4=Role.REQUIRED))]
    assert burst == 2000
    assert loads.successful


@pytest.mark.parametrize("bad", [0, 1])
def test_a_bad_file_is_told_and_nothing_is_applied(files, bad, caplog):
    """The log has the place and the reason, the peer neither; one bad file is enough."""
    loads = ReloadStatus()
    response, applied, burst = reload(*files, loads, lambda: files[bad].write_text("wrong: 1\n"))
    assert response.status == 500
    assert response.body == b"failed to reload: the log of the exporter has the reason\n"
    assert f"{files[bad]}:1:1: wrong: unknown key; expected " in caplog.text
    assert (applied, burst) == ([], 1000)
    assert not loads.successful
    assert "kept the previous configuration" in caplog.text


def test_what_is_told_of_loads():
    """One bad file is a failure until that file is good; the time is that of the last success."""
    now = [100.0]
    loads = ReloadStatus(lambda: now[0])
    assert (loads.successful, loads.success_time) == (True, 100)
    now[0] = 200
    for name in ("config", "web"):
        with pytest.raises(ConfigError), loads.reading(name):
            raise ConfigError
    with loads.reading("web"):
        pass
    assert (loads.successful, loads.success_time) == (False, 100)
    with loads.reading("config"):
        pass
    assert (loads.successful, loads.success_time) == (True, 200)


def test_counters_survive(tmp_path):
    """A wrap that was seen before a reload is still added after it, and one is seen across it."""
    system = System(Paths(procfs=str(tmp_path)))
    (tmp_path / "net/stat").mkdir(parents=True)
    (tmp_path / "sys/net/netfilter").mkdir(parents=True)
    (tmp_path / "sys/net/netfilter/nf_conntrack_count").write_text("1\n")
    host = Host(system)
    gatherer = Gatherer(host)
    row = [collectors.load()["conntrack"]]

    def drops(raw):
        (tmp_path / "net/stat/nf_conntrack").write_text(STATISTICS.format(raw))
        families = {m.name: samples for m, samples in page_families(gatherer.gather(row))}
        return families["conntrack_drop_total"][0][1]

    assert drops(0xFFFFFFF0) == 0xFFFFFFF0
    assert drops(0x10) == 0x100000010
    gatherer.reconfigure(host.configured(Config(nat=Nat(Role.REQUIRED))), ())
    assert drops(0xFFFFFFF0) == 0x1FFFFFFF0
    gatherer.reconfigure(host.configured(Config()), ())
    assert drops(0x10) == 0x200000010
    gatherer.close()


def test_a_collection_has_one_configuration():
    """What is read while a collection runs is that of the next one."""
    host = Host(System(), Config(nat=Nat(Role.REQUIRED)))
    gatherer = Gatherer(host)

    def look(snapshot):
        before = snapshot.host.config
        gatherer.reconfigure(host.configured(Config(nat=Nat(Role.NONE))), ())
        assert snapshot.host.config is before
        return list(Role).index(snapshot.host.config.nat.ipv4)

    seen = [
        gatherer.gather([collector("look", look)]).outcomes["look"].families[0][1] for _ in range(2)
    ]
    assert seen == [(((), 0),), (((), 1),)]
    gatherer.close()


# -- the real process --------------------------------------------------------------------------


def value(port, name):
    page = get(port)[1]
    found = re.search(rf"^netfilter_{name}(?:{{.*?}})? (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else None


def test_a_signal_and_a_request_reload(tmp_path):
    """SIGHUP, POST and PUT do the same; the metrics tell of it, and the new role is served."""
    config = tmp_path / "config.yml"
    config.write_text("nat: auto\n")
    wanted = 'nat_expected{family="ipv4"}'
    flags = [ANY_PORT, f"--config.file={config}", "--web.enable-lifecycle"]
    with running(tmp_path / "log", *flags) as exporter:
        (port,) = exporter.ports
        first = value(port, "config_last_reload_success_timestamp_seconds")
        assert value(port, "config_last_reload_successful") == 1

        config.write_text("collectors: {modules: {references: true}}\n")
        exporter.process.send_signal(signal.SIGHUP)
        exporter.wait_for_log("reloaded configuration")
        assert value(port, "config_last_reload_success_timestamp_seconds") > first

        config.write_text("nat: maybe\n")
        for count, method in enumerate(("POST", "PUT"), 1):
            status, body = get(port, "/-/reload", method=method)
            assert status == 500
            exporter.wait_for_log(
                "kept the previous configuration: .*config.yml:1:6: nat: 'maybe' is not known",
                count,
            )
            for page in (body, get(port, "/")[1], get(port)[1]):
                assert str(tmp_path) not in page
                assert "config.yml" not in page
                assert "maybe" not in page
        assert "The configuration could not be reloaded." in get(port, "/")[1]
        assert value(port, "config_last_reload_successful") == 0

        config.write_text("nat: required\n")
        assert get(port, "/-/reload", method="POST") == (200, "reloaded configuration\n")
        assert value(port, "config_last_reload_successful") == 1
        assert f"netfilter_{wanted} 1.0" in get(port)[1]


def test_a_request_reloads_only_where_the_flag_is(tmp_path):
    """Without --web.enable-lifecycle nobody who reaches the port can reload; SIGHUP can."""
    config = tmp_path / "config.yml"
    config.write_text("nat: auto\n")
    with running(tmp_path / "log", ANY_PORT, f"--config.file={config}") as exporter:
        for method in ("POST", "PUT"):
            status, body = get(exporter.ports[0], "/-/reload", method=method)
            assert (status, body.partition(":")[0]) == (403, "disabled")
        assert get(exporter.ports[0], "/-/reload")[0] == 405
        assert "reloaded" not in exporter.logged()
        exporter.process.send_signal(signal.SIGHUP)
        exporter.wait_for_log("reloaded configuration")


def test_reload_is_no_page(tmp_path):
    """A GET changes nothing: a crawler or a prefetch reloads nobody."""
    with running(tmp_path / "log", ANY_PORT, "--web.enable-lifecycle") as exporter:
        assert get(exporter.ports[0], "/-/reload")[0] == 405
        assert get(exporter.ports[0], "/-/reload", method="POST")[0] == 200  # nothing to read


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "Same-Origin"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": "http://127.0.0.1:{port}.evil.example"}, 403),
        ({"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Origin": "http://LocalHost:{port}", "Host": "localhost:{port}"}, 200),
        ({"Origin": "http://[::1]:{port}", "Host": "[::1]:{port}"}, 200),
        ({"Origin": "http://evil.example:{port}", "Host": "evil.example:{port}"}, 403),
        ({"Origin": "http://127.0.0.1.evil.example", "Host": "127.0.0.1.evil.example"}, 403),
    ],
)
def test_other_sites_cannot_reload(lifecycle, headers, status):
    """A page of another site, one whose name was pointed at the exporter too, gets 403."""
    port = lifecycle.ports[0]
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(client):
        client.request(
            "POST", "/-/reload", headers={k: v.format(port=port) for k, v in headers.items()}
        )
        assert client.getresponse().status == status


@pytest.fixture(scope="module")
def lifecycle(tmp_path_factory):
    log = tmp_path_factory.mktemp("lifecycle") / "log"
    with running(log, ANY_PORT, "--web.enable-lifecycle") as exporter:
        yield exporter
