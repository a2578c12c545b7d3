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
