"""The wheel and the sdist: the same bytes from the same source; and the lock of what tests need."""

import os
import re
import tarfile
import zipfile
from configparser import ConfigParser
from email.parser import Parser

import pytest

from support import wheel

LOCK = wheel.ROOT / "tests/requirements.lock"


def setup():
    parser = ConfigParser()
    parser.read(wheel.ROOT / "setup.cfg")
    return parser


def age(folder, seconds):
    """Give all files other times, as another checkout does, and take rights from the group."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                os.utime(path, (seconds, seconds))
                os.chmod(path, os.stat(path).st_mode & ~0o077)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both, each built twice: elsewhere, at another time, and with another umask."""
    found = {"wheel": [], "sdist": []}
    for umask, seconds in ((0o022, 1_000_000_000), (0o077, 1_700_000_000)):
        folder = tmp_path_factory.mktemp("built")
        wheel.copy(folder / "source")
        if umask == 0o077:
            age(folder / "source", seconds)
        for kind, twice in found.items():
            twice.append(wheel.build(kind, folder / "source", folder / kind, umask))
    return found


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_two_builds_are_the_same_bytes(built, kind):
    """Neither the time nor the place of a build, nor its user, is in it."""
    first, second = built[kind]
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_what_is_executable_stays_so(built):
    """Of modes, what git keeps is kept."""
    with tarfile.open(built["sdist"][0]) as sdist:
        modes = {entry.name.partition("/")[2]: entry.mode for entry in sdist}
        owners = {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in sdist}
    assert modes["exporter/deploy/debian/rules"] == 0o755
    assert modes["README.md"] == 0o644
    assert owners == {(0, 0, "", "")}


def test_the_wheel_is_built_of_the_sdist_too(built, tmp_path):
    """What the sdist holds is enough: the wheel of it is the wheel of the tree."""
    with tarfile.open(built["sdist"][0]) as sdist:
        sdist.extractall(tmp_path)
    (source,) = tmp_path.iterdir()
    again = wheel.build("wheel", source, tmp_path / "dist")
    assert again.read_bytes() == built["wheel"][0].read_bytes()


def test_the_wheel_says_where_the_project_is(built):
    """Package indexes show these addresses beside the description."""
    with zipfile.ZipFile(built["wheel"][0]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    addresses = dict(line.split(", ") for line in metadata.get_all("Project-URL"))
    assert addresses.keys() == {"Homepage", "Documentation", "Changelog", "Runbooks"}
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_lock_holds_what_setup_cfg_names():
    """Each requirement of the package and of its tests, in one version for each Python."""
    options = setup()
    wanted = [
        *options["options"]["install_requires"].split("\n"),
        *options["options.extras_require"]["test"].split("\n"),
    ]
    names = {re.match(r"[\w-]+", line)[0].lower() for line in wanted if line}
    locked = re.findall(r"^([\w.-]+)==", LOCK.read_text(), re.MULTILINE)
    assert names <= set(locked)


def test_the_lock_has_hashes_and_no_host():
    """A file that is not the one that was locked is refused, wherever it comes from."""
    text = re.sub(r"(?m)^#.*\n", "", LOCK.read_text())
    requirements = re.split(r"\n(?=[a-z])", text)
    assert len(requirements) > 40
    assert [part for part in requirements if "--hash=sha256:" not in part] == []
    assert not re.search(r"://|-index", text)
