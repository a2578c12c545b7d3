"""kernel/container.py: what of the host can be seen below --path.rootfs."""

from pathlib import Path

import pytest

from netfilter_exporter.kernel import container
from netfilter_exporter.kernel.conf_files import ConfFiles
from netfilter_exporter.kernel.container import shows_host
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.modules.evidence import EvidenceReader
from netfilter_exporter.kernel.sysctl import sysctl_d

IMAGE = "22 1 0:30 / / ro - overlay overlay rw"


@pytest.mark.parametrize(
    ("links", "host"),
    [
        ({"pid": "pid:[4026531836]", "cgroup": "cgroup:[4026531835]"}, True),
        ({"pid": "pid:[4026532200]", "cgroup": "cgroup:[4026531835]"}, False),
        ({"pid": "pid:[4026531836]", "cgroup": "cgroup:[4026532201]"}, False),
        ({"pid": "pid:[4026531836]"}, True),
    ],
    ids=["host", "container", "container with the host's pids", "no cgroup namespaces"],
)
def test_a_containers_own_root_is_not_the_hosts(monkeypatch, links: dict[str, str], host: bool):
    """Inside a container only a root that was given is the host's."""

    def readlink(path: str) -> str:
        try:
            return links[path.rpartition("/")[2]]
        except KeyError:
            raise FileNotFoundError(path) from None

    monkeypatch.setattr(container.os, "readlink", readlink)
    assert shows_host(Paths(), "/etc/sysctl.d") is host
    assert shows_host(Paths(rootfs="/host"), "/etc/sysctl.d") is True


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """Return a function that says what is mounted; targets are below the root that it returns."""

    def mount(*targets: str) -> Paths:
        lines = [
            f"{40 + n} 22 8:1 {t} {tmp_path}{t} ro - ext4 /dev/sda1 rw"
            for n, t in enumerate(targets)
        ]
        table = tmp_path / "mountinfo"
        table.write_text("\n".join([IMAGE, *lines, ""]))
        monkeypatch.setattr(container, "_MOUNTS", str(table))
        return Paths(rootfs=str(tmp_path))

    return mount


def test_of_single_mounts_only_what_is_below_them_is_the_hosts(mounted):
    """Whether it exists or not: what is missing there, the host does not have."""
    paths = mounted("/etc/sysctl.d", "/lib/modules")
    assert shows_host(paths, "/etc/sysctl.d")
    assert shows_host(paths, "/lib/modules/6.1.0/modules.dep")
    for name in ("/etc/sysctl.conf", "/etc/sysctl.d.bak", "/lib", "/run/sysctl.d"):
        assert not shows_host(paths, name)


@pytest.mark.parametrize("targets", [(), ("",), ("", "/boot")], ids=["folder", "root", "and more"])
def test_a_whole_root_shows_everything(mounted, targets: tuple[str, ...]):
    """A folder, or the root of the host, with what is mounted below it."""
    assert shows_host(mounted(*targets), "/etc/sysctl.conf")


def test_mount_points_with_blanks_are_found(mounted):
    """The kernel writes a blank as an octal number."""
    paths = mounted("/etc/sysctl\\040d")
    assert shows_host(paths, "/etc/sysctl d")
    assert not shows_host(paths, "/etc/sysctl.d")


def test_without_a_table_of_mounts_a_root_is_whole(tmp_path, monkeypatch):
    """Nothing says that it is put together."""
    monkeypatch.setattr(container, "_MOUNTS", str(tmp_path / "none"))
    assert shows_host(Paths(rootfs=str(tmp_path)), "/etc")


@pytest.mark.parametrize(
    ("target", "found", "hidden"),
    [
        ("../x.conf", False, True),
        ("../x.conf", True, False),
        ("/srv/x.conf", False, True),
        ("/dev/null", False, False),
        ("gone.conf", False, False),
    ],
    ids=["outside", "mounted", "elsewhere", "masked", "dangling"],
)
def test_a_link_that_leads_out_of_sight_is_an_error(mounted, tmp_path, target, found, hidden):
    """/etc/sysctl.d/99-sysctl.conf leads to /etc/sysctl.conf: it must not be taken for empty."""
    paths = mounted("/etc/x.d", *(["/etc/x.conf"] if found else []))
    (tmp_path / "etc/x.d").mkdir(parents=True)
    (tmp_path / "etc/x.d/99-x.conf").symlink_to(target)
    if found:
        Path(tmp_path / "etc/x.conf").write_text("")
    listing = ConfFiles(paths, ("/etc/x.d",)).read()
    assert [file.name for file in listing.files] == ["/etc/x.d/99-x.conf"]
    assert ["is not mounted" in str(error) for error in listing.errors] == [True] * hidden


RELEASE = Path("/proc/sys/kernel/osrelease").read_text().strip()


@pytest.mark.parametrize("place", ["/lib/modules", "/usr/lib/modules"])
def test_the_modules_are_found_by_either_name(mounted, tmp_path, place):
    """/lib may be a link on the host: below the root, either name can be a mount point."""
    paths = mounted(place)
    (tmp_path / f"{place}/{RELEASE}"[1:]).mkdir(parents=True)
    (tmp_path / f"{place}/{RELEASE}/modules.dep"[1:]).write_text("kernel/net/nf_nat.ko.zst:\n")
    evidence = EvidenceReader(paths, ["nf_nat"]).read()
    assert evidence.directory is True
    assert evidence.depends == {"nf_nat": frozenset()}


@pytest.mark.parametrize(
    ("target", "missing"),
    [
        (f"/lib/modules/{RELEASE}/there", False),
        (f"/lib/modules/{RELEASE}/gone", True),
        ("/nix/store/linux/kernel", False),
    ],
    ids=["elsewhere", "nowhere", "out of sight"],
)
def test_links_of_modules_are_those_of_the_host(mounted, tmp_path, target, missing):
    """An absolute link begins at the root of the host; one out of the mounts proves nothing."""
    paths = mounted("/lib/modules")
    folder = tmp_path / "lib/modules" / RELEASE
    (folder / "there").mkdir(parents=True)
    (folder / "there/nf_nat.ko").touch()
    (folder / "kernel").symlink_to(target)
    (folder / "modules.dep").write_text("kernel/nf_nat.ko:\n")
    files = EvidenceReader(paths, ["nf_nat"]).read().files
    assert files.missing == ({"nf_nat"} if missing else set())


@pytest.mark.parametrize(
    ("targets", "directory", "readable"),
    [
        (["/lib/modules", "/etc/modprobe.d"], False, True),
        (["/lib/modules"], False, False),
        (["/etc/modprobe.d", "/lib/modprobe.d"], None, True),
        (["/etc/sysctl.d"], None, False),
    ],
    ids=["both", "modules", "modprobe.d", "neither"],
)
def test_what_is_not_mounted_is_unknown(mounted, tmp_path, targets, directory, readable):
    """A mounted directory that is empty says that there is none; without it, nothing is known."""
    paths = mounted(*targets)
    for target in targets:
        (tmp_path / target[1:]).mkdir(parents=True)
    evidence = EvidenceReader(paths, ["nf_nat"]).read()
    assert (evidence.directory, evidence.modprobe_readable) == (directory, readable)


def test_all_directories_of_sysctl_d_count_where_they_are_mounted(mounted, tmp_path):
    """In their order, each by itself: /etc hides /run, and that /usr/local/lib and the others."""
    paths = mounted(*sysctl_d.DIRECTORIES)
    for number, directory in enumerate(sysctl_d.DIRECTORIES):
        (tmp_path / directory[1:]).mkdir(parents=True)
        for name in range(number + 1):
            file = tmp_path / directory[1:] / f"{name}.conf"
            file.write_text(f"net.netfilter.nf_conntrack_{name} = {number}\n")
    merged = sysctl_d.SysctlD(paths).read().merged
    values = [merged[f"net/netfilter/nf_conntrack_{name}"].value for name in range(5)]
    assert values == ["0", "1", "2", "3", "4"]
