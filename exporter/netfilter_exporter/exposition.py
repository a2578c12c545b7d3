"""From families of samples to a page, with prometheus-client's own encoders.

Rendering a sample costs ten times what building it does, and most samples of a scrape are those
of the scrape before. So each family is encoded by itself and encoded again only when one of its
samples changed; the page is the concatenation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as ClientMetric

from netfilter_exporter.collectors.base import Metric, Sample

_EOF = b"# EOF\n"
_Encoder = Callable[[Any], bytes]

#: Formats that are remembered; a client that invents more gets them rendered anew.
_FORMATS = 8


class _Registry:
    """The registry of one family, as the encoders want it."""

    def __init__(self, family: ClientMetric) -> None:
        self._family = family

    def collect(self) -> Iterable[ClientMetric]:
        return [self._family]


class Exposition:
    """Renders pages in the format that a client accepts."""

    def __init__(self) -> None:
        self._rendered: dict[str, dict[str, tuple[tuple[Sample, ...], bytes]]] = {}

    def render(
        self,
        families: Iterable[tuple[Metric[Any], tuple[Sample, ...]]],
        accept: str,
        extra: Iterable[ClientMetric] = (),
    ) -> tuple[bytes, str]:
        """Return the page and its Content-Type; `extra` are families of prometheus-client's own."""
        encode, content_type = _encoder(accept)
        if len(self._rendered) > _FORMATS:
            self._rendered.clear()
        remembered = self._rendered.setdefault(content_type, {})
        parts = []
        for metric, samples in families:
            if not samples:
                continue
            before = remembered.get(metric.full_name)
            if before is None or before[0] != samples:
                before = samples, _encode_one(encode, _client_metric(metric, samples))
                remembered[metric.full_name] = before
            parts.append(before[1])
        parts.extend(_encode_one(encode, family) for family in extra)
        if "openmetrics" in content_type:
            parts.append(_EOF)
        return b"".join(parts), content_type


def _encoder(accept: str) -> tuple[_Encoder, str]:
    """Return prometheus-client's choice for an Accept header; a malformed one means text."""
    try:
        return choose_encoder(accept)
    except ValueError:  # version=abc
        return choose_encoder("")


def _encode_one(encode: _Encoder, family: ClientMetric) -> bytes:
    return encode(_Registry(family)).removesuffix(_EOF)


def _client_metric(metric: Metric[Any], samples: tuple[Sample, ...]) -> ClientMetric:
    suffix = "_total" if metric.type == "counter" else ""
    name = metric.full_name[: len(metric.full_name) - len(suffix)]
    family = ClientMetric(name, metric.help, metric.type)
    for labels, number in samples:
        family.add_sample(metric.full_name, dict(zip(metric.labels, labels)), number)
    return family
