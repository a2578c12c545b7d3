"""Files of --web.config.file that are none: refused at once, for a server without a password."""

import pytest

from netfilter_exporter.config.model import ConfigError
from netfilter_exporter.web.web_file import WebFile
from support.irregular import KINDS, make


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_regular_file_is_a_web_configuration(tmp_path, kind):
    """A FIFO would be an empty file: plain HTTP for everybody."""
    with pytest.raises(ConfigError, match=f"{kind}; expected a regular file"):
        WebFile(make(tmp_path, kind))


@pytest.mark.parametrize("key", ["cert_file", "key_file", "client_ca_file"])
@pytest.mark.parametrize("kind", KINDS)
def test_only_a_regular_file_is_a_certificate_or_a_key(tmp_path, certificates, key, kind):
    """The message names the key of the configuration, and the file."""
    named = {**certificates, key: make(tmp_path, kind)}
    path = tmp_path / "web.yml"
    lines = "".join(f"  {name}: {file}\n" for name, file in named.items())
    auth = "  client_auth_type: RequireAndVerifyClientCert\n"
    path.write_text(f"tls_server_config:\n{lines}{auth}")
    with pytest.raises(ConfigError, match=rf"tls_server_config\.{key}: .*: {kind}; expected"):
        WebFile(str(path))


def test_a_file_that_becomes_a_fifo_changes_nothing(tmp_path):
    """What was good is served on; the next reading says what is wrong."""
    path = tmp_path / "web.yml"
    path.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    file = WebFile(str(path))
    before = file.current()
    path.unlink()
    path = make(tmp_path, "a FIFO")
    (tmp_path / "web.yml").symlink_to(path)
    with pytest.raises(ConfigError, match="a FIFO"):
        file.reload()
    assert file.current() is before


@pytest.fixture
def certificates(tmp_path):
    """The files of a server that asks clients for certificates."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    files = {key: str(tmp_path / f"{key}.pem") for key in ("cert_file", "key_file")}
    issued.cert_chain_pems[0].write_to_path(files["cert_file"])
    issued.private_key_pem.write_to_path(files["key_file"])
    files["client_ca_file"] = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(files["client_ca_file"])
    return files
