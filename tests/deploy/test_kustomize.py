"""kubectl, of Debian, renders the Kustomization, and README's overlay of it."""

import re
import shutil
import subprocess

import pytest
import yaml

from support import debian, manifests, needs
from support.units import DEPLOY

#: Of the suite whose nodes the overlay is for.
SUITE = "trixie"
NAMES = ("daemonset", "service", "servicemonitor")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def kubectl():
    """The program of Debian's package."""
    with needs.packages():
        return debian.fetch(SUITE, ["kubectl"])["kubectl"] / "usr/bin/kubectl"


def rendered(kubectl, folder):
    """Return what `kubectl kustomize` makes of a folder, by kind."""
    done = subprocess.run(
        [str(kubectl), "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return {part["kind"]: part for part in yaml.safe_load_all(done.stdout)}


def test_the_base_is_the_manifests(kubectl):
    """Nothing is added, and nothing is left out."""
    parts = [manifests.load(f"kubernetes/{name}.yml") for name in NAMES]
    assert rendered(kubectl, DEPLOY / "kubernetes") == {part["kind"]: part for part in parts}


def test_the_helper_is_a_second_container(kubectl):
    """It has what the exporter has not; that one gets a socket and two flags, no capability."""
    base = rendered(kubectl, DEPLOY / "kubernetes")["DaemonSet"]["spec"]["template"]["spec"]
    spec = rendered(kubectl, DEPLOY / "kubernetes-netns")["DaemonSet"]["spec"]["template"]["spec"]
    (exporter,) = base["containers"]
    changed, helper = sorted(spec["containers"], key=lambda each: each["name"] == "netns-helper")
    assert changed["securityContext"] == exporter["securityContext"]
    assert changed["args"][: len(exporter["args"])] == exporter["args"]
    assert [m for m in changed["volumeMounts"] if m not in exporter["volumeMounts"]] == [
        {"name": "netns-helper", "mountPath": "/run/netns-helper", "readOnly": True}
    ]
    assert spec["hostPID"] is False
    assert helper["securityContext"]["capabilities"]["add"] == ["NET_ADMIN", "SYS_ADMIN"]


def test_the_overlay_of_the_readme(kubectl, tmp_path):
    """Another image, and a node without /etc/sysctl.conf; all else is the base's."""
    shutil.copytree(DEPLOY / "kubernetes", tmp_path / "kubernetes")
    section = (DEPLOY / "README.md").read_text().split("## kustomize\n")[1]
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "Kustomization").write_text(re.search(r"```yaml\n(.*?)```", section, re.DOTALL)[1])
    changed = rendered(kubectl, overlay)
    base = rendered(kubectl, DEPLOY / "kubernetes")
    spec = base["DaemonSet"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    container["image"] = "registry.example.org/" + container["image"]
    container["volumeMounts"] = [
        mount for mount in container["volumeMounts"] if "sysctl.conf" not in mount["mountPath"]
    ]
    spec["volumes"] = [part for part in spec["volumes"] if part["name"] != "etc-sysctl-conf"]
    assert changed == base
