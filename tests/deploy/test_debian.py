"""The Debian package: it is built of the sdist for the suite that it names, and lintian is content.

What becomes of it on a host is in test_booted.py.
"""

import shutil

import pytest

from netfilter_exporter import __version__
from support import debian_package, needs, units


@pytest.fixture(scope="module")
def changes(tmp_path_factory):
    """The .changes of the package."""
    if reason := debian_package.lacking():
        pytest.skip(reason)
    return debian_package.build(tmp_path_factory.mktemp("debian"))


@pytest.fixture(scope="module")
def owners(changes):
    """Who would own what the package installs, by its path."""
    (package,) = changes.parent.glob("*.deb")
    lines = debian_package.run("dpkg-deb", "--contents", str(package), cwd=changes.parent)
    found = [line.split() for line in lines.splitlines()]
    return {words[5].lstrip("."): words[1] for words in found}


@pytest.mark.timeout(600)
def test_lintian_finds_nothing(changes):
    """Neither errors, warnings nor hints, in the package and in its source."""
    if not shutil.which("lintian"):
        needs.lacks("missing: lintian", forced=needs.KERNEL)
    lintian = ("lintian", "--allow-root", "--display-info", "--pedantic")
    said = debian_package.run(*lintian, str(changes), cwd=changes.parent)
    assert said == ""


def test_what_is_installed(owners):
    """The command, the units, the user, the flags, the man page; all of it is root's."""
    assert {
        "/usr/bin/netfilter_exporter",
        "/usr/bin/netfilter_exporter-netns-helper",
        "/usr/lib/sysusers.d/netfilter_exporter.conf",
        "/etc/default/netfilter_exporter",
        "/usr/share/man/man1/netfilter_exporter.1.gz",
        "/usr/lib/python3/dist-packages/netfilter_exporter/alerts/netfilter.rules.yml",
        *(f"/lib/systemd/system/{unit.name}" for unit in units.SYSTEMD.glob("netfilter_exporter*")),
    } <= owners.keys()
    assert set(owners.values()) == {"root/root"}
    files = [name for name in owners if name.startswith("/etc/") and not name.endswith("/")]
    assert files == ["/etc/default/netfilter_exporter"]


def test_it_depends_on_the_suites_libraries(changes):
    """The three of setup.cfg and no other: bcrypt is suggested."""
    (package,) = changes.parent.glob("*.deb")
    said = debian_package.run("dpkg-deb", "--field", str(package), "Depends", cwd=changes.parent)
    libraries = {name for name in said.replace(",", " ").split() if name.startswith("python3-")}
    assert libraries == {"python3-prometheus-client", "python3-psutil", "python3-yaml"}


def test_the_version_is_that_of_the_exporter():
    """A release changes both."""
    assert debian_package.version().partition("-")[0] == __version__
