"""support/debian.py: a root file system of unpacked packages, made again when it lacks one."""

import shutil
import subprocess

import pytest

from support import debian

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is missing")

#: Finds packages in the folder of the mirror, with the dependencies that a file lists.
APT_GET = """\
#!/bin/sh
for argument; do
  case $argument in -oDir::Cache::archives=*) archives=${argument#*=};; esac
  name=$argument
done
[ "$name" = update ] && exit
echo "$name" >> MIRROR/downloads
[ -e "MIRROR/$name.list" ] || { echo "E: Unable to locate package $name" >&2; exit 100; }
while read -r each; do cp "MIRROR/$each.deb" "$archives/${each}_1.0_all.deb"; done \
  < "MIRROR/$name.list"
"""


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Return the folder of a mirror, from which apt-get fetches into a cache of the test."""
    folder = tmp_path / "mirror"
    program = tmp_path / "bin/apt-get"
    for each in (folder, program.parent):
        each.mkdir()
    program.write_text(APT_GET.replace("MIRROR", str(folder)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    address = "http://deb.example/debian"
    monkeypatch.setattr(debian, "mirror", lambda: debian.Mirror(address, address))
    package(folder, "base", "bin/sh", "etc/base")
    package(folder, "library", "lib/library.so")
    package(folder, "program", "usr/sbin/program", depends=["library", "base"])
    return folder


def package(folder, name, *files, depends=()):
    """Make a package with files that say its name."""
    tree = folder / name
    for each in files:
        (tree / each).parent.mkdir(parents=True, exist_ok=True)
        (tree / each).write_text(name)
    (tree / "DEBIAN").mkdir()
    control = f"Package: {name}\nVersion: 1.0-{len(name)}\nArchitecture: all\n"
    text = f"{control}Maintainer: Test <test@example.org>\nDescription: test\n"
    (tree / "DEBIAN/control").write_text(text)
    build = ["dpkg-deb", "-Znone", "-b", tree, folder / f"{name}.deb"]
    subprocess.run(build, check=True, capture_output=True)
    (folder / f"{name}.list").write_text("".join(f"{each}\n" for each in (name, *depends)))


def downloads(mirror):
    """Return the packages that were asked for, each time."""
    return (mirror / "downloads").read_text().split()


@pytest.mark.usefixtures("mirror")
def test_packages_with_dependencies_over_each_other():
    """Directories of the root that are links to those of /usr stay so; versions are known."""
    root = debian.root("trixie", ["program"])
    for name in ("bin/sh", "usr/bin/sh", "lib/library.so", "usr/sbin/program", "etc/base"):
        assert (root / name).is_file()
    assert (root / "bin").is_symlink()
    assert debian.versions(root) == {"base": "1.0-4", "library": "1.0-7", "program": "1.0-7"}
    assert not [*(root.parent / "archives").glob("*.deb")]


def test_a_root_is_made_once(mirror):
    """It is made again, without what was there, when it lacks a package."""
    root = debian.root("trixie", ["base", "library"])
    (root / "etc/left").touch()
    assert debian.root("trixie", ["library"]) == root
    assert (root / "etc/left").exists()
    assert downloads(mirror) == ["base", "library"]
    debian.root("trixie", ["program"])
    assert not (root / "etc/left").exists()
    assert (root / "usr/sbin/program").exists()


def test_half_a_root_is_not_used(mirror):
    """Where a package is missing, the next call begins again."""
    with pytest.raises(debian.UnavailableError, match="Unable to locate package tomorrow"):
        debian.root("trixie", ["base", "tomorrow"])
    package(mirror, "tomorrow", "usr/bin/tomorrow")
    root = debian.root("trixie", ["base", "tomorrow"])
    assert (root / "usr/bin/tomorrow").exists()
    assert downloads(mirror) == ["base", "tomorrow"] * 2
