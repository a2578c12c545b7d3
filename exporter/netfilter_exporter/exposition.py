"""From families of samples to a page, with prometheus-client's own encoders.

Rendering a sample costs ten times what building it does, and most samples of a scrape are those
of the scrape before. So each family is encoded alone, and encoded again only when its samples
change. The page is the concatenation.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Callable

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as ClientMetric

from netfilter_exporter.accept import Offer, best
from netfilter_exporter.collectors.base import Metric, Sample
from netfilter_exporter.kernel import names

_log = logging.getLogger(__name__)

_EOF = b"# EOF\n"
_Encoder = Callable[[Any], bytes]

#: The first serves a client that has no preference. Prometheus offers OpenMetrics 0.0.1 too, which
#: prometheus-client does not write. An old prometheus-client answers the last two with older
#: versions, and its Content-Type says so: OpenMetrics 0.0.1, text 0.0.4.
_OFFERS = (
    Offer("text/plain", "0.0.4"),
    Offer("application/openmetrics-text", "1.0.0"),
    Offer("text/plain", "1.0.0", unversioned=False),
)

#: Accept headers that are remembered; a client that invents more gets its page rendered again.
_FORMATS = 8


class Exposition:
    """Renders pages in the format that a client accepts."""

    def __init__(self) -> None:
        self._by_accept: dict[str, _Format] = {}

    def render(
        self,
        families: Iterable[tuple[Metric[Any], tuple[Sample, ...]]],
        accept: str,
    ) -> tuple[bytes, str]:
        """Return the page and its Content-Type."""
        form = self._by_accept.get(accept)
        if form is None:
            if len(self._by_accept) >= _FORMATS:
                self._by_accept.clear()
            form = self._by_accept[accept] = _Format(*_encoder(accept))
        parts = [form.family(metric, samples) for metric, samples in families if samples]
        if "openmetrics" in form.content_type:
            parts.append(_EOF)
        return b"".join(parts), form.content_type


class _Format:
    """One format, and the families as they were last rendered in it, by name."""

    def __init__(self, encode: _Encoder, content_type: str) -> None:
        self.content_type = content_type
        self._encode = encode
        self._rendered: dict[str, tuple[tuple[Sample, ...], bytes]] = {}

    def family(self, metric: Metric[Any], samples: tuple[Sample, ...]) -> bytes:
        before = self._rendered.get(metric.name)
        if before is not None and (before[0] is samples or before[0] == samples):
            return before[1]
        try:
            text = self._encode(_Registry(_client_metric(metric, samples))).removesuffix(_EOF)
        except Exception:  # what cannot be rendered must not take the page down
            _log.exception("%s is left out of the page", metric.name)
            text = b""
        self._rendered[metric.name] = samples, text
        return text


class _Registry:
    """The registry of one family, as the encoders want it."""

    def __init__(self, family: ClientMetric) -> None:
        self._family = family

    def collect(self) -> Iterable[ClientMetric]:
        return [self._family]


def _encoder(accept: str) -> tuple[_Encoder, str]:
    """Return the encoder and Content-Type for an Accept header; text where nothing matches.

    prometheus-client's own choice ignores weights, takes any version for one that it can write,
    and raises at a version that is not a number. So only the chosen range is passed on.
    """
    return choose_encoder(str(best(accept, _OFFERS) or ""))


def _client_metric(metric: Metric[Any], samples: tuple[Sample, ...]) -> ClientMetric:
    suffix = "_total" if metric.type == "counter" else ""
    name = metric.full_name[: len(metric.full_name) - len(suffix)]
    family = ClientMetric(name, metric.help, metric.type)
    for labels, number in samples:
        family.add_sample(
            metric.full_name, dict(zip(metric.labels, map(names.label, labels))), number
        )
    return family
