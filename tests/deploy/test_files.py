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
from netfilter_exporter import __version__, collectors, flags, netns_helper
from netfilter_exporter.config import model as config
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netns.helper import Helper
from netfilter_exporter.web import config as web_config
from support import man_page, manifests
from support.units import DEPLOY

ROOT = DEPLOY.parents[1]
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
MAN = man_page.PATH
PAGES = sorted(MAN.parent.glob("*.1"))
CAPABILITIES = {"NET_ADMIN"}
#: What is read of the host, and nothing above it. /proc and /sys are the container's own.
READ = {
    *("/lib/modules", "/boot", "/etc/machine-id", "/etc/sysctl.conf"),
    *(f"/{parent}/{name}.d" for parent in ("etc", "usr/lib") for name in ("modprobe", "sysctl")),
}


def parse(args):
    """Return what the flags of a container say; what they name is mounted there, not here."""
    return flags.parse([*args, "--config.check"], collectors.load())


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
    return manifests.pod()


def test_the_pod_is_in_the_network_of_its_node(pod):
    """Its own would look healthy and say nothing; other namespaces of the node stay closed."""
    assert pod["hostNetwork"] is True
    assert pod["hostPID"] is False
    assert "hostIPC" not in pod
    assert pod["automountServiceAccountToken"] is False


def test_the_container_has_one_capability(pod):
    """It is not privileged, not root, gains nothing, and writes nothing."""
    (container,) = pod["containers"]
    context = container["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": sorted(CAPABILITIES)}
    assert context["privileged"] is context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"] == {"supplementalGroups": [0]}


CONTAINERS = (manifests.of_kubernetes("192.0.2.1"), manifests.of_compose())


@pytest.mark.parametrize("container", CONTAINERS, ids=["kubernetes", "compose"])
def test_a_container_gets_what_is_read(container):
    """Each part of the host by itself, read-only, where the flags say, and never created."""
    root = parse(container.arguments).paths.rootfs
    assert parse(container.arguments).paths._replace(rootfs="/") == Paths()
    assert {mount.source for mount in container.mounts} == READ
    for mount in container.mounts:
        assert mount.target == root + mount.source
        assert mount.read_only
        assert mount.kind == ("file" if mount.source in FILES else "dir")


FILES = {"/etc/machine-id", "/etc/sysctl.conf"}


@pytest.mark.parametrize("container", CONTAINERS, ids=["kubernetes", "compose"])
def test_a_container_has_the_user_of_the_image(container):
    """Neither root nor nobody, and below the range that systemd gives to users of its own."""
    (user,) = re.findall(r"^USER (.*)$", CONTAINERFILE, re.MULTILINE)
    assert user == f"{container.user}:{container.group}"
    assert 65520 <= container.user <= 65533
    assert container.groups == (0,)
    assert container.read_only


def test_the_service_of_compose():
    """In the network of the host, and built from the Containerfile."""
    (service,) = manifests.load("compose.yml")["services"].values()
    assert service["network_mode"] == "host"
    assert "privileged" not in service
    assert "security_opt" not in service  # neither unconfined nor no-new-privileges, as README says
    build = service["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert ROOT / build["dockerfile"] == DEPLOY / "Containerfile"
    assert service["image"].endswith(f":{__version__}")


def helper_of_kubernetes():
    """Return its command line, its user's capabilities, and the exporter's flags."""
    spec = manifests.load("kubernetes-netns/daemonset.yml")["spec"]["template"]["spec"]
    exporter, helper = spec["containers"]
    (mount,) = [each for each in helper["volumeMounts"] if each["name"] == "run-netns"]
    assert mount["mountPropagation"] == "HostToContainer"
    assert mount["readOnly"]
    context = helper["securityContext"]
    command = [*helper["command"], *helper["args"]]
    flags_of_exporter = [arg.replace("$(HOST_IP)", "192.0.2.1") for arg in exporter["args"]]
    return command, context["runAsUser"], context["capabilities"], flags_of_exporter


def helper_of_compose():
    """Return the same of compose."""
    services = manifests.load("compose.netns.yml")["services"]
    helper = services["netns_helper"]
    (mount,) = [each for each in helper["volumes"] if each["source"] == "/run/netns"]
    assert mount["bind"] == {"propagation": "rslave", "create_host_path": False}
    assert mount["read_only"]
    assert helper["network_mode"] == "host"
    assert (
        helper["image"] == manifests.load("compose.yml")["services"]["netfilter_exporter"]["image"]
    )
    command = [*helper["entrypoint"], *helper["command"]]
    capabilities = {"drop": helper["cap_drop"], "add": sorted(helper["cap_add"])}
    user = int(helper["user"].split(":")[0])
    return command, user, capabilities, services["netfilter_exporter"]["command"]


@pytest.mark.parametrize("helper", [helper_of_kubernetes, helper_of_compose])
def test_the_helper_of_namespaces_serves_the_exporter(helper):
    """It listens where the exporter asks, for the exporter's user, and is whom that one expects."""
    command, user, capabilities, arguments = helper()
    program, *rest = command
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["options"]["scripts"].split() == [f"exporter/bin/{program}"]
    path, served = netns_helper._arguments(rest)
    assert {served} == {str(container.user) for container in CONTAINERS}
    assert capabilities == {"drop": ["ALL"], "add": ["NET_ADMIN", "SYS_ADMIN"]}
    chosen = parse(arguments)
    assert chosen.netns_helper == Helper(path, user)
    assert "namespaces" in chosen.collectors


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_the_address_may_be_of_either_family(pod, address):
    """The brackets around the node's address are no harm in IPv4, and needed in IPv6."""
    args = [arg.replace("$(HOST_IP)", address) for arg in pod["containers"][0]["args"]]
    assert parse(args).listen_addresses == ((address, 10042),)


def test_the_parts_fit_together(pod):
    """Labels, ports and names are those that the service and its monitor select."""
    daemonset, service, monitor = (
        manifests.load(f"kubernetes/{name}.yml")
        for name in ("daemonset", "service", "servicemonitor")
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
    (endpoint,) = manifests.load("kubernetes/servicemonitor.yml")["spec"]["endpoints"]
    first, second = endpoint["relabelings"]
    assert first["targetLabel"] == "instance"
    assert first["sourceLabels"] == ["__meta_kubernetes_pod_node_name"]
    assert re.fullmatch(second["regex"], "pod")
    assert not re.fullmatch(second["regex"], "instance")


# -- the container -----------------------------------------------------------------------------


def test_the_container_file():
    """It installs the wheel with its extra, starts the command itself, and gives it no default."""
    lines = [
        line for line in CONTAINERFILE.splitlines() if line and not line.startswith(("#", " "))
    ]
    words = [line.split()[0] for line in lines]
    assert set(words) <= {"FROM", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT"}
    assert words[0] == "FROM"
    assert 'ENTRYPOINT ["netfilter_exporter"]' in lines
    assert f"EXPOSE {flags.DEFAULT_ADDRESS.lstrip(':')}" in lines


def test_the_interpreter_has_the_capability_that_is_added():
    """No other comes through a file, and it holds from the first instruction on."""
    name, effective = manifests.file_capabilities()
    assert effective
    assert {name} == {f"CAP_{added}" for added in CAPABILITIES}
    # After it no RUN starts Python: that fails without the capability.
    assert "pip" not in CONTAINERFILE[CONTAINERFILE.index("setcap") :]


# -- what README says of them --------------------------------------------------------------------


def test_the_tests_that_the_readme_names_exist():
    """Each row of what was tried has a test that tries it again."""
    text = (DEPLOY / "README.md").read_text()
    _, tried = text.split("## Tried, and what happened")
    rows = [row for row in tried.splitlines() if row.startswith("| ") and "**" not in row][1:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`([a-z]+/(?:test_\w+\.py)?)`", row.split("|")[-2])
        assert named, row
        assert [name for name in named if not (ROOT / "tests" / name).exists()] == []


def test_the_readme_says_what_is_mounted():
    """The table of what a container gets lists the mounts, and no other."""
    text = (DEPLOY / "README.md").read_text()
    table = text.split("## What a container gets")[1].split("* Never")[0]
    assert set(re.findall(r"`(/[\w./-]+)`", table)) == READ


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
    """It shows every key that there is, and the document of this folder shows it."""
    text = (DEPLOY / "config.yml").read_text()
    assert config.parse(text, "f").expect.rules
    assert set(yaml.safe_load(text)) == set(config._CONFIG)
    assert f"```yaml\n{text}```" in (DEPLOY / "README.md").read_text()


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


def test_the_man_page_has_the_flags_of_today():
    """Those of the exporter and of its two commands: after a change, `tests/run --update`."""
    text = MAN.read_text()
    assert man_page.current(text) == text


@pytest.mark.skipif(not shutil.which("groff"), reason="needs groff; tests/run has it")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_man_page_is_well_formed(page):
    """groff finds nothing to warn of."""
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", str(page)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_man_page_is_installed():
    """The wheel puts it where man(1) looks, below the prefix."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    pages = [ROOT / page for page in setup["options.data_files"]["share/man/man1"].split()]
    assert sorted(pages) == PAGES
    try:
        installed = importlib.metadata.distribution("netfilter_exporter").files or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed: tests/run tests the wheel")
    if Path(netfilter_exporter.__file__) not in [Path(file.locate()) for file in installed]:
        pytest.skip("the package is imported from elsewhere: tests/run tests the wheel")
    (page,) = [file for file in installed if file.name == MAN.name]
    assert Path(page.locate()).read_text() == MAN.read_text()
