"""What the container manifests that are shipped ask a runtime for, in one form."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

import yaml

from support.units import DEPLOY

#: linux/capability.h
NUMBERS = {"CAP_NET_ADMIN": 12, "CAP_DAC_READ_SEARCH": 2}


class Mount(NamedTuple):
    """A part of the host that a container gets."""

    source: str
    target: str
    read_only: bool
    kind: str  #: dir or file, and it must exist; "": a runtime creates what is missing


class Container(NamedTuple):
    """A container as a runtime starts it."""

    arguments: tuple[str, ...]
    user: int
    group: int
    groups: tuple[int, ...]
    capabilities: tuple[str, ...]  #: of the bounding set
    permitted: bool  #: before the command starts, they are permitted, too
    no_new_privileges: bool
    read_only: bool
    mounts: tuple[Mount, ...]


def load(name: str) -> Any:
    """Return a YAML file of exporter/deploy."""
    return yaml.safe_load((DEPLOY / name).read_text())


def pod() -> Any:
    """Return what the DaemonSet runs on each node."""
    return load("kubernetes/daemonset.yml")["spec"]["template"]["spec"]


def of_kubernetes(address: str) -> Container:
    """Return the container of the DaemonSet on a node with this address.

    containerd (`WithAddedCapabilities`) and CRI-O (`setupCapabilities`) put what is added into the
    bounding, the effective and the permitted set, whoever the user is.
    """
    spec = pod()
    (container,) = spec["containers"]
    context = container["securityContext"]
    assert context["capabilities"]["drop"] == ["ALL"]
    volumes = {volume["name"]: volume["hostPath"] for volume in spec["volumes"]}
    kinds = {"Directory": "dir", "File": "file"}
    return Container(
        arguments=tuple(arg.replace("$(HOST_IP)", address) for arg in container["args"]),
        user=context["runAsUser"],
        group=context["runAsGroup"],
        groups=tuple(spec["securityContext"]["supplementalGroups"]),
        capabilities=tuple(f"CAP_{name}" for name in context["capabilities"]["add"]),
        permitted=True,
        no_new_privileges=not context["allowPrivilegeEscalation"],
        read_only=context["readOnlyRootFilesystem"],
        mounts=tuple(
            Mount(
                volumes[mount["name"]]["path"],
                mount["mountPath"],
                mount.get("readOnly", False),
                kinds.get(volumes[mount["name"]].get("type", ""), ""),
            )
            for mount in container["volumeMounts"]
        ),
    )


def of_compose() -> Container:
    """Return the service of compose.yml, as Docker runs it.

    Docker gives users other than root a bounding set alone (`SetCapabilities` of moby).
    """
    (service,) = load("compose.yml")["services"].values()
    user, group = map(int, service["user"].split(":"))
    assert service["cap_drop"] == ["ALL"]
    return Container(
        arguments=tuple(service["command"]),
        user=user,
        group=group,
        groups=tuple(map(int, service["group_add"])),
        capabilities=tuple(f"CAP_{name}" for name in service["cap_add"]),
        permitted=user == 0,
        no_new_privileges=any("no-new" in o for o in service.get("security_opt", ())),
        read_only=service["read_only"],
        mounts=tuple(_volume(volume) for volume in service["volumes"]),
    )


def _volume(volume: dict[str, Any]) -> Mount:
    assert volume["type"] == "bind"
    creates = volume.get("bind", {}).get("create_host_path", True)
    kind = "file" if os.path.splitext(volume["source"])[1] == ".conf" else "dir"
    kind = "file" if volume["source"].endswith("/machine-id") else kind
    return Mount(
        volume["source"], volume["target"], volume.get("read_only", False), "" if creates else kind
    )


def file_capabilities() -> tuple[str, bool]:
    """Return what the Containerfile gives the interpreter: a name, and whether it is effective."""
    text = (DEPLOY / "Containerfile").read_text()
    (found,) = re.findall(r'setcap (\w+)=(\w+) "\$\(readlink -f /usr/local/bin/python3\)"', text)
    name, flags = found
    return name.upper(), "e" in flags
