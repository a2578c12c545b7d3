"""Whether a browser sends a request for a page of another site, which must not change anything.

A browser names the site in Sec-Fetch-Site (to https and localhost) and Origin (each POST and PUT).
Programs such as curl send neither. Source: the Fetch standard, and W3C Fetch Metadata.
"""

from __future__ import annotations

import ipaddress
import re

from netfilter_exporter.web.http import Request

_PORT = re.compile(r":[0-9]*$")


def is_of_another_site(request: Request) -> bool:
    """Return whether `request` may come from a page that the exporter did not serve.

    A name that the page's owner resolves to this host gives a page the same name as the exporter
    (DNS rebinding). So the page's host counts only where no stranger can point it here: as an
    address, and as localhost.
    """
    if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return True
    origin = request.headers.get("origin")
    if origin is None:
        return False
    _, _, page_host = origin.lower().partition("://")
    host = request.headers.get("host", "").lower()
    return page_host != host or not _is_bound(_PORT.sub("", host))


def _is_bound(host: str) -> bool:
    """Return whether no one but this network decides where `host` leads."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost"
    return True
