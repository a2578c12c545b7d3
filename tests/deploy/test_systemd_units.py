"""exporter/deploy/systemd: one unit runs, with one capability and everything else closed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from netfilter_exporter import collectors, flags
from netfilter_exporter.kernel.netns.helper import Helper
from support.units import SYSTEMD, settings

SERVICES = ("netfilter_exporter.service", "netfilter_exporter-textfile.service")
HELPER = "netfilter_exporter-netns.service"
SOCKETS = ("netfilter_exporter.socket", "netfilter_exporter-netns.socket")
UNITS = sorted(path.name for path in SYSTEMD.glob("netfilter_exporter*.*"))
ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "alerts" / "netfilter.rules.yml"
README = ROOT / "exporter/deploy/README.md"

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs Debian's package systemd; tests/run has it"
)


def analyze(*arguments):
    """Return code and output of systemd-analyze."""
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_all_units_are_tested():
    """A unit that is added here is held to the same."""
    assert sorted([*SERVICES, HELPER, *SOCKETS, "netfilter_exporter-textfile.timer"]) == UNITS


@needs_systemd
@pytest.mark.parametrize("unit", [*SERVICES, HELPER])
def test_the_exposure_is_below_two(unit):
    """By systemd's own measure, from 0 to 10."""
    code, said = analyze("security", "--offline=true", "--threshold=18", str(SYSTEMD / unit))
    assert code == 0, said
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)[1]
    assert float(exposure) <= 1.8, said
    assert f"(`systemd-analyze security`: {exposure})" in README.read_text()


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_nothing_wrong(unit, tmp_path):
    """Every setting is known and well-formed; only what is not installed here may be missing."""
    for name in UNITS:
        text = (SYSTEMD / name).read_text()
        text = re.sub("(?<=ExecStart=)netfilter_exporter[a-z-]*", shutil.which("true"), text)
        (tmp_path / name).write_text(re.sub(r"^Documentation=.*$", "", text, flags=re.MULTILINE))
    code, said = analyze("verify", "--man=no", str(tmp_path / unit))
    assert (code, said) == (0, "")


@pytest.mark.parametrize("unit", SERVICES)
def test_one_capability_and_no_other(unit):
    """Exactly that which README gives a reason for, for a user that is not root, but of group 0."""
    found = settings(unit)
    assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == ["CAP_NET_ADMIN"]
    assert found["User"] == ["netfilter_exporter"]
    assert found["SupplementaryGroups"] == ["root"]
    assert found["NoNewPrivileges"] == ["yes"]


@pytest.mark.parametrize("unit", SERVICES)
def test_nothing_that_is_read_is_hidden(unit):
    """Settings that would hide /lib/modules, /proc/kallsyms, /proc/sys or the network are off."""
    found = settings(unit)
    for hides in ("ProtectKernelModules", "ProtectKernelTunables"):
        assert hides not in found
    assert found["PrivateNetwork"] == found["PrivateUsers"] == ["no"]
    assert found["ProcSubset"] == ["all"]
    assert found["ReadOnlyPaths"] == ["/proc/sys /sys /run /dev/shm"]


@pytest.mark.parametrize("unit", SERVICES)
def test_the_flags_of_the_units_exist(unit):
    """What a unit starts is a command line that the exporter takes."""
    (command,) = settings(unit)["ExecStart"]
    program, *arguments = command.split()
    assert program == "netfilter_exporter"
    assert arguments.pop() == "$ARGS"
    flags.parse(arguments, collectors.load())
    flags.parse(["--web.systemd-socket"], collectors.load())  # as netfilter_exporter.socket says


@needs_systemd
@pytest.mark.parametrize(
    ("drop_in", "sets"),
    [
        ("namespaces.conf", {"ProtectProc": ["default"]}),
        (
            "netns-helper.conf",
            {
                "Wants": ["netfilter_exporter-netns.socket"],
                "After": ["netfilter_exporter-netns.socket"],
                "RestrictAddressFamilies": ["AF_UNIX"],
            },
        ),
    ],
)
def test_the_drop_ins_open_one_thing_each(drop_in, sets, tmp_path):
    """Processes of other users; Unix sockets, for the helper. systemd knows the settings."""
    assert settings(drop_in) == sets
    text = (SYSTEMD / SERVICES[0]).read_text()
    text = text.replace("ExecStart=netfilter_exporter", f"ExecStart={shutil.which('true')}")
    unit = tmp_path / SERVICES[0]
    unit.write_text(re.sub(r"^Documentation=.*$", "", text, flags=re.MULTILINE))
    folder = tmp_path / f"{SERVICES[0]}.d"
    folder.mkdir()
    shutil.copy(SYSTEMD / drop_in, folder)
    for name in (*SOCKETS, HELPER):
        text = (SYSTEMD / name).read_text()
        text = re.sub("(?<=ExecStart=)netfilter_exporter[a-z-]*", shutil.which("true"), text)
        (tmp_path / name).write_text(re.sub(r"^Documentation=.*$", "", text, flags=re.MULTILINE))
    assert analyze("verify", "--man=no", str(unit)) == (0, "")


def test_the_helper_has_what_the_exporter_must_not_have():
    """Its capabilities are two, of a user who owns nothing; it sends no packet."""
    found = settings(HELPER)
    assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"]
    assert found["AmbientCapabilities"] == ["CAP_SYS_ADMIN CAP_NET_ADMIN"]
    assert found["DynamicUser"] == found["NoNewPrivileges"] == ["yes"]
    assert found["User"] != ["netfilter_exporter"]
    assert found["IPAddressDeny"] == ["any"]
    assert found["RestrictNamespaces"] == ["net"]
    assert found["ReadOnlyPaths"] == ["/"]
    assert found["ProcSubset"] == ["all"]
    assert "IPAddressAllow" not in found


def test_the_helper_serves_the_user_of_the_exporter():
    """Who owns its socket, which is where the drop-in says."""
    (command,) = settings(HELPER)["ExecStart"]
    assert command.split() == ["netfilter_exporter-netns-helper", "netfilter_exporter"]
    socket = settings(SOCKETS[1])
    assert socket["SocketUser"] == settings(SERVICES[0])["User"]
    assert socket["SocketMode"] == ["0600"]
    (path,) = socket["ListenSequentialPacket"]
    flag = f"--netns.helper-socket={path}"
    for place in SYSTEMD / "netns-helper.conf", README:
        assert flag in place.read_text()
    assert flags.parse([flag], collectors.load()).netns_helper == Helper(path)


def test_the_two_services_are_confined_alike():
    """The text file's service serves nobody, and writes one folder; all else is the same."""
    serving, writing = map(settings, SERVICES)
    differs = {key for key in {*serving, *writing} if serving.get(key) != writing.get(key)} - {
        "Description",
        "Documentation",
        "Type",
        "ExecStart",
    }
    assert differs == {
        *("DynamicUser", "IPAddressAllow", "Restart", "RestartSec", "ExecReload", "WantedBy"),
        *("StateDirectory", "StateDirectoryMode", "TimeoutStartSec"),
    }
    assert writing["IPAddressAllow"] == ["localhost"]


def test_the_socket_is_the_port_of_the_exporter():
    """Who changes to socket activation changes no scrape configuration."""
    found = settings("netfilter_exporter.socket")
    assert found["ListenStream"] == [flags.DEFAULT_ADDRESS.lstrip(":")]
    assert found["IPAddressAllow"] == settings(SERVICES[0])["IPAddressAllow"]


def test_the_timer_is_faster_than_the_alert():
    """NetfilterTextfileStale means that some runs in a row have failed."""
    rules = {
        rule["alert"]: rule["expr"]
        for group in yaml.safe_load(ALERTS.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    limit = int(re.search(r"> (\d+)", rules["NetfilterTextfileStale"])[1])
    assert settings("netfilter_exporter-textfile.timer")["OnUnitActiveSec"] == ["1min"]
    assert limit >= 5 * 60


def test_the_text_file_is_where_the_link_points():
    """README links what the service writes; the page is readable for node_exporter."""
    found = settings("netfilter_exporter-textfile.service")
    folder = f"/var/lib/{found['StateDirectory'][0]}"
    link = f"ln -s {folder}/netfilter_exporter.prom /var/lib/prometheus/node-exporter/"
    assert link in README.read_text()
    assert link in (SYSTEMD / "netfilter_exporter-textfile.service").read_text()
    assert f"--textfile.directory={folder} " in found["ExecStart"][0]
    assert found["StateDirectoryMode"] == ["0755"]


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="needs systemd-sysusers")
def test_the_user_is_made(tmp_path):
    """sysusers.d makes the user of the units, without a shell."""
    (tmp_path / "etc").mkdir()
    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", str(SYSTEMD / "sysusers.conf")],
        capture_output=True,
        check=True,
    )
    (line,) = (tmp_path / "etc/passwd").read_text().splitlines()
    assert line.startswith("netfilter_exporter:x:")
    assert line.endswith(":/usr/sbin/nologin")
