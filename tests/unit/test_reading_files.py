"""Reading files: what is no path, and what is no regular file."""

import pytest

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.errors import Malformed, NoData, ReadError
from support.irregular import KINDS, make

NO_PATHS = ("/proc/a\0b", "/proc/\ud800")


@pytest.mark.parametrize("path", NO_PATHS)
@pytest.mark.parametrize(
    "read",
    [files.read_bytes, files.read_regular, files.read_int, files.exists, files.listing],
)
def test_what_is_no_path_is_malformed(read, path):
    """A name that was read from the kernel and can be no file is its malformed data, no defect."""
    with pytest.raises(Malformed, match="not a path"):
        read(path)
    assert files.inode(path) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_regular_file_is_read(tmp_path, kind):
    """Anything else is refused at once, and without being opened."""
    path = make(tmp_path, kind)
    with pytest.raises(ReadError, match=f"{path}: {kind}; expected a regular file"):
        files.read_regular(path)


def test_links_are_followed(tmp_path):
    """Kubernetes and certbot link to what they renew."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert files.read_regular(str(tmp_path / "link")) == b"x"
    with pytest.raises(NoData):
        files.read_regular(str(tmp_path / "absent"))
