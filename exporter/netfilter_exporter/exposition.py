"""From families of samples to a page, with prometheus-client's own encoders.

Rendering a sample costs ten times what building it does, and most samples of a scrape are those
of the scrape before. So each family is encoded by itself and encoded again only when one of its
samples changed; the page is the concatenation.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any, Callable

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as ClientMetric

from netfilter_exporter.collectors.base import Metric, Sample

_log = logging.getLogger(__name__)

_EOF = b"# EOF\n"
_Encoder = Callable[[Any], bytes]

#: What is written, and 0.0.1, which Prometheus offers too and is then given as text.
_VERSIONS = frozenset({"0.0.1", "0.0.4", "1.0.0"})
_NEVER = re.compile(r"0(\.0*)?")  #: the weight of what is not accepted

#: Accept headers that are remembered; a client that invents more gets its page rendered anew.
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
    """Return prometheus-client's choice for an Accept header.

    It takes any version for one that it can write, and raises at one that is no number: what it
    cannot know is left out here, so that the next that the client accepts has its turn.
    """
    return choose_encoder(",".join(filter(_is_known, accept.split(","))))


def _is_known(media_range: str) -> bool:
    _, *parameters = media_range.split(";")
    pairs = dict(parameter.strip().partition("=")[::2] for parameter in parameters)
    return pairs.get("version", "0.0.4") in _VERSIONS and not _NEVER.fullmatch(pairs.get("q", "1"))


def _client_metric(metric: Metric[Any], samples: tuple[Sample, ...]) -> ClientMetric:
    suffix = "_total" if metric.type == "counter" else ""
    name = metric.full_name[: len(metric.full_name) - len(suffix)]
    family = ClientMetric(name, metric.help, metric.type)
    for labels, number in samples:
        family.add_sample(metric.full_name, dict(zip(metric.labels, labels)), number)
    return family
