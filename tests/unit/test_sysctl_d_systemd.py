"""kernel/sysctl/sysctl_d.py against systemd-sysctl itself, in a network namespace for each run."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from netfilter_exporter.kernel.sysctl import names as sysctl_names
from netfilter_exporter.kernel.sysctl.sysctl_d import Option, is_glob, merge, parse_file, settle
from support import needs

SYSTEMD_SYSCTL = "/usr/lib/systemd/systemd-sysctl"
USABLE = os.geteuid() == 0 and os.path.exists(SYSTEMD_SYSCTL) and shutil.which("unshare")

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        not USABLE and not needs.KERNEL, reason="needs root, unshare(1) and systemd-sysctl"
    ),
]

#: Each is of the namespace alone: the limit and the buckets would be the machine's.
PLAIN = (
    "net.ipv4.ip_forward",
    "net/ipv4/conf/all/forwarding",
    "/net/ipv4//ip_forward",
    "net.ipv4.conf.lo.forwarding",
    "net.ipv6.conf.all.forwarding",
    "net.ipv6.conf.default.forwarding",
    "net.netfilter.nf_conntrack_acct",
)
GLOBS = (
    "net.ipv4.ip_f?rward",
    "net.ipv4.*forward",
    "net.ipv6.conf.[ad]*.forwarding",
    "net.netfilter.nf_conntrack_[ac][!o]*",
    "net.netfilter.nf_conntrack_acc*",
)
VALUES = st.sampled_from(["0", "1", "0x1", "01", "1 # on", "words", ""])
KEYS = st.sampled_from(PLAIN + GLOBS)
LINES = st.one_of(
    st.tuples(st.sampled_from(["", "-", " - "]), KEYS, st.just(" = "), VALUES).map("".join),
    KEYS.map("-{}".format),
    st.sampled_from(["# net.ipv4.ip_forward = 1", "; x", "nonsense", "", "= 1", "-= 1"]),
)


def systemd_writes(path: Path) -> list[tuple[str, str]]:
    """Return what systemd-sysctl writes for the file at `path`, in its order."""
    done = subprocess.run(
        ["unshare", "--net", SYSTEMD_SYSCTL, str(path)],
        env={"SYSTEMD_LOG_LEVEL": "debug", "SYSTEMD_LOG_TARGET": "console"},
        capture_output=True,
        text=True,
        check=False,  # it fails where the kernel refuses a value
        timeout=20,
    )
    assert "Parsing" in done.stderr, done.stderr
    return re.findall(r"^Setting '(?:/proc/sys/)?(.*)' to '(.*)'$", done.stderr, re.MULTILINE)


def settled(lines: list[tuple[str, str]], kernel: list[str]) -> dict[str, int]:
    """Return what is left after `lines`, which have no pattern and no repetition."""
    options = {
        (key, number): Option(key, value, None)  # type: ignore[arg-type]
        for number, (key, value) in enumerate(lines)
        if sysctl_names.in_scope(key)
    }
    left: dict[str, int] = {}
    for option in options.values():
        for key, setting in settle({option.key: option}, kernel).items():
            for other in sysctl_names.overwritten(key, list(left)):
                del left[other]
            left[key] = setting.value
    return left


@pytest.fixture(scope="module")
def kernel() -> list[str]:
    """Return the keys of a new namespace that a pattern may match."""
    listed = subprocess.run(
        ["unshare", "--net", "sh", "-c", "cd /proc/sys && find net -type f"],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    ).stdout.split()
    served = set(sysctl_names.FIXED)
    prefix = sysctl_names.CONNTRACK
    keys = sorted(key for key in listed if key in served or key.startswith(prefix))
    return list(sysctl_names.matchable(keys))


@given(st.lists(LINES, min_size=1, max_size=8))
@example(
    lines=[f"net.ipv4.{key}" for key in ("ip_forward=1", "conf.all.forwarding=0", "ip_forward=1")]
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_systemd_agrees(tmp_path: Path, kernel: list[str], lines: list[str]):
    """Whatever the lines, what we say is asked for is what systemd-sysctl leaves."""
    path = tmp_path / "test.conf"
    path.write_text("\n".join(lines))
    parsed = parse_file(path.read_bytes(), str(path))
    options = merge(
        option
        for option in parsed
        if isinstance(option, Option) and (is_glob(option.key) or sysctl_names.in_scope(option.key))
    )
    ours = {key: setting.value for key, setting in settle(options, kernel).items()}
    assert ours == settled(systemd_writes(path), kernel)
