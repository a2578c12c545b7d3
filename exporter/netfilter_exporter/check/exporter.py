"""Checks of the looking itself."""

from __future__ import annotations

from collections.abc import Iterator

from netfilter_exporter.check import shell
from netfilter_exporter.check.context import NEEDS_HISTORY, Context
from netfilter_exporter.check.findings import Found, Severity, unknown
from netfilter_exporter.config.model import NamespaceRule
from netfilter_exporter.facts.namespace import host_network_namespace
from netfilter_exporter.kernel.errors import HEALTHY, Status


def collector_failing(context: Context) -> Iterator[Found]:
    """A collector did not succeed."""
    for name, outcome in context.outcomes.items():
        if outcome.status in HEALTHY:
            continue
        errors = "; ".join(dict.fromkeys(str(error) for error in outcome.errors))
        denied = outcome.status is Status.DENIED
        yield Found(
            f"Collector {name}: {outcome.status.value}: {errors}",
            "The data that it could not read is not checked here.",
            {"collector": name, "status": outcome.status.value},
            (shell.comment("run it as root, or with CAP_NET_ADMIN and group 0"),) if denied else (),
            Severity.INFO if denied and not context.doing_nat else None,
        )


def wrong_namespace(context: Context) -> Iterator[Found]:
    """This is not the network namespace of the host."""
    if context.config.network_namespace is NamespaceRule.ANY:
        return
    if not host_network_namespace(context.snapshot):
        yield Found(
            "Running outside the host's network namespace; these results do not describe the host.",
            "Each network namespace has its own rules, tracking and forwarding. That of a pod"
            " looks healthy whatever the host does.",
            {"host_network_namespace": 0},
            (
                shell.comment("in a container: --network=host, or hostNetwork: true"),
                shell.fixed("nsenter --net=/proc/1/ns/net netfilter_exporter check"),
                shell.comment("if this is intended: network_namespace: any in --config.file"),
            ),
        )


def config_reload_failing(context: Context) -> Iterator[Found]:
    """A file was bad when it was last read again, which only the process that serves can know."""
    reload_status = context.snapshot.host.reload_status
    if reload_status is None:
        yield unknown(NEEDS_HISTORY)
        return
    if not reload_status.successful:
        # Without the reason: the landing page is for peers, the reason is about files.
        yield Found(
            "The configuration could not be reloaded.",
            "The previous configuration stays in use. The exporter will not start again with"
            " this file.",
            remedy=(
                shell.comment("the log names file and line: journalctl -u netfilter_exporter"),
                shell.comment("correct it, then: systemctl reload netfilter_exporter"),
            ),
        )
