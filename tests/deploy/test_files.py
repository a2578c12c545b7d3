"""exporter/deploy: containers, Kubernetes, Prometheus, the man page."""

import importlib.metadata
import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

import netfilter_exporter
from netfilter_exporter import __version__, assets, collectors, flags
from netfilter_exporter.check import command
from netfilter_exporter.config import model as config
from netfilter_exporter.web import config as web_config
from support.units import DEPLOY

ROOT = DEPLOY.parents[1]
MAN = DEPLOY / "man" / "netfilter_exporter.1"
CAPABILITIES = {"NET_ADMIN", "DAC_READ_SEARCH"}


def parse(args):
    """Return what the flags of a container say; what they name is mounted there, not here."""
    return flags.parse([*args, "--config.check"], collectors.load())


def load(name):
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yml")), ids=lambda path: path.name)
def test_yaml_is_valid(path):
    """One document each, without keys given twice or anchors, which not all tools take."""

    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{path}: {node.start_mark}: given twice"
            return super().construct_mapping(node, deep)

    text = path.read_text()
    (document,) = yaml.load_all(text, Strict)
    assert isinstance(document, dict)
    assert not any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text))


# -- Kubernetes --------------------------------------------------------------------------------


@pytest.fixture
def pod():
    """What the DaemonSet runs on each node."""
    return load("kubernetes/daemonset.yml")["spec"]["template"]["spec"]


def test_the_pod_is_in_the_network_of_its_node(pod):
    """Its own would look healthy and say nothing; other namespaces of the node stay closed."""
    assert pod["hostNetwork"] is True
    assert pod["hostPID"] is False
    assert "hostIPC" not in pod
    assert pod["automountServiceAccountToken"] is False


def test_the_container_has_two_capabilities(pod):
    """It is not privileged, gains nothing, and writes nothing."""
    (container,) = pod["containers"]
    context = container["securityContext"]
    assert context["capabilities"]["drop"] == ["ALL"]
    assert set(context["capabilities"]["add"]) == CAPABILITIES
    assert context["privileged"] is context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["runAsUser"] == 0  # added capabilities are for root alone
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_the_host_is_read_only_and_where_the_flags_say(pod):
    """The host's root is mounted once; procfs, sysfs and rootfs are below it."""
    (container,) = pod["containers"]
    (mount,) = container["volumeMounts"]
    (volume,) = pod["volumes"]
    assert volume["hostPath"]["path"] == "/"
    assert mount["readOnly"] is True
    chosen = parse([arg.replace("$(HOST_IP)", "192.0.2.1") for arg in container["args"]])
    host = mount["mountPath"]
    assert tuple(chosen.paths) == (f"{host}/proc", f"{host}/sys", host)


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_the_address_may_be_of_either_family(pod, address):
    """The brackets around the node's address are no harm in IPv4, and needed in IPv6."""
    args = [arg.replace("$(HOST_IP)", address) for arg in pod["containers"][0]["args"]]
    assert parse(args).listen_addresses == ((address, 10042),)


def test_the_parts_fit_together(pod):
    """Labels, ports and names are those that the service and its monitor select."""
    daemonset, service, monitor = (
        load(f"kubernetes/{name}.yml") for name in ("daemonset", "service", "servicemonitor")
    )
    labels = daemonset["spec"]["template"]["metadata"]["labels"]
    assert daemonset["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    selected = monitor["spec"]["selector"]["matchLabels"]
    assert selected.items() <= service["metadata"]["labels"].items()
    (container,) = pod["containers"]
    (port,) = container["ports"]
    (served,) = service["spec"]["ports"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert served["targetPort"] == port["name"] == "metrics"
    assert endpoint["port"] == served["name"]
    assert port["containerPort"] == served["port"] == port["hostPort"]
    assert {part["metadata"]["namespace"] for part in (daemonset, service, monitor)} == {
        "monitoring"
    }
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/-/healthy", "port": "metrics"}
    assert container["image"].endswith(f":{__version__}")


def test_an_instance_is_a_node():
    """A pod that is replaced must not look like another host to the alerts."""
    (endpoint,) = load("kubernetes/servicemonitor.yml")["spec"]["endpoints"]
    first, second = endpoint["relabelings"]
    assert first["targetLabel"] == "instance"
    assert first["sourceLabels"] == ["__meta_kubernetes_pod_node_name"]
    assert re.fullmatch(second["regex"], "pod")
    assert not re.fullmatch(second["regex"], "instance")


# -- the container -----------------------------------------------------------------------------


def test_the_container_file():
    """It installs the wheel with its extra, starts the command itself, and gives it no default."""
    lines = [
        line
        for line in (DEPLOY / "Containerfile").read_text().splitlines()
        if line and not line.startswith(("#", " "))
    ]
    words = [line.split()[0] for line in lines]
    assert set(words) <= {"FROM", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT"}
    assert words[0] == "FROM"
    assert 'ENTRYPOINT ["netfilter_exporter"]' in lines
    assert f"EXPOSE {flags.DEFAULT_ADDRESS.lstrip(':')}" in lines
    comment = (DEPLOY / "Containerfile").read_text()
    assert set(re.findall(r"--cap-add=(\w+)", comment)) == CAPABILITIES
    run = re.search(r"netfilter_exporter \\\n#\s+(--path.*)", comment)[1]
    assert parse(run.split()).paths.rootfs == "/host"


# -- Prometheus --------------------------------------------------------------------------------


def test_promtool_takes_the_scrape_example():
    """It is a whole configuration, of which parts can be copied."""
    done = subprocess.run(
        ["promtool", "check", "config", "--lint-fatal", str(DEPLOY / "prometheus/prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_of_a_configuration():
    """It shows every key that there is, and README shows it."""
    text = (DEPLOY / "config.yml").read_text()
    assert config.parse(text, "f").expect.rules
    assert set(yaml.safe_load(text)) == set(config._CONFIG)
    assert f"```yaml\n{text}```" in (ROOT / "README.md").read_text()


def test_the_example_of_a_web_configuration():
    """It is good as it stands, and with what is commented out."""
    text = (DEPLOY / "web-config.yml").read_text()
    assert web_config.parse(text, "f").tls
    hashed = "$2y$10$" + "." * 53
    whole = re.sub(r"^( *)# ([ a-z_]+:)", r"\1\2", text, flags=re.MULTILINE)
    parsed = web_config.parse(whole.replace("$2y$10$...", hashed), "f")
    assert parsed.users
    assert parsed.rate_limit.burst == 20
    assert parsed.tls.client_allowed_sans == ("prometheus.example",)


# -- the man page ------------------------------------------------------------------------------


def options(parser):
    """Return all option strings of a parser."""
    return {option for action in parser._actions for option in action.option_strings}


def test_every_flag_is_in_the_man_page_and_no_other():
    """Those of the exporter, and those of its two commands."""
    text = MAN.read_text().replace("\\-", "-")
    serving, checking, writing = re.split(r"\.SH OPTIONS OF .*", text)
    for parser, part in (
        (flags._parser(collectors.load()), serving[serving.index(".SH OPTIONS") :]),
        (command._parser(), checking),
        (assets._parser({}), writing[: writing.index(".SH PAGES")]),
    ):
        assert set(re.findall(r"\\fB(--?[\w.-]+)\\fR", part)) == options(parser)


@pytest.mark.skipif(not shutil.which("groff"), reason="needs groff; tests/run has it")
def test_the_man_page_is_well_formed():
    """groff finds nothing to warn of."""
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", str(MAN)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_man_page_is_installed():
    """The wheel puts it where man(1) looks, below the prefix."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["options.data_files"]["share/man/man1"].split() == [str(MAN.relative_to(ROOT))]
    try:
        installed = importlib.metadata.distribution("netfilter_exporter").files or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed: tests/run tests the wheel")
    if Path(netfilter_exporter.__file__) not in [Path(file.locate()) for file in installed]:
        pytest.skip("the package is imported from elsewhere: tests/run tests the wheel")
    (page,) = [file for file in installed if file.name == MAN.name]
    assert Path(page.locate()).read_text() == MAN.read_text()
