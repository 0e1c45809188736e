"""Names that a server answers to, and requests that pages of other sites make through a browser.

A page anywhere can let a browser send requests to this machine.  It cannot forge the headers
``Host``, ``Origin`` and ``Sec-Fetch-Site``, by which it is told here: a name of its own that it
lets resolve to this machine (DNS rebinding) is in ``Host``, and a form that it submits is
announced in the other two.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence

from gsam.serve.config import ServeConfig, is_wildcard
from gsam.serve.problems import ServeError

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/\\@\[\]?#]+)(?::([0-9]{1,5}))?", re.ASCII)
SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""
PORTS = {"http": "80", "https": "443"}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_host(given: Sequence[str], config: ServeConfig) -> None:
    """Refuse a request for another name than the server's.

    Args:
        given: The request's ``Host`` headers; one is right.
        config: ``names`` are its own beside ``localhost``, loopback addresses and ``host``.  A
            server on all addresses (``0.0.0.0``, ``::``) answers to every address too, as no page
            can have one for a name, but to no name that it was not told.

    Raises:
        ServeError: 403 ``host_refused``.
    """
    if "*" in config.names:
        return
    parts = split(given[0]) if len(given) == 1 else None
    if parts is None or not is_own(parts[0], config):
        raise ServeError(403, "host_refused", "this server does not go by that name: start it with --name NAME")


def check_site(method: str, headers: Mapping[str, str], config: ServeConfig) -> None:
    """Refuse a request that the page of another site makes and that may change something.

    Args:
        method: Of the request.
        headers: Names in lower case.
        config: Origins of its ``names`` are the server's own, as behind a proxy.

    Raises:
        ServeError: 403 ``cross_site``.
    """
    if method in SAFE:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        refused = site.strip().lower() not in ("same-origin", "none")
    else:
        refused = origin is not None and not _own_origin(origin, headers.get("host", ""), config)
    if refused:
        raise ServeError(403, "cross_site", "requests from pages of other sites are refused")


def split(host: str) -> tuple[str, str | None] | None:
    """A ``Host`` header's name, in lower case and without brackets, and its port."""
    found = HOST.fullmatch(host.strip().lower())
    return None if found is None else (found[1].strip("[]").rstrip("."), found[2])


def is_own(name: str, config: ServeConfig) -> bool:
    """Tell whether a name is this server's, by `check_host`'s rule."""
    told = {n.strip("[]").rstrip(".").lower() for n in (*config.names, config.host)}
    if (ip := _address(name)) is None:
        return name == "localhost" or (name != "" and name in told)
    return ip.is_loopback or is_wildcard(config.host) or ip in {_address(n) for n in told}


def _own_origin(origin: str, host: str, config: ServeConfig) -> bool:
    scheme, found, rest = origin.strip().lower().partition("://")
    theirs, ours = split(rest), split(host)
    if not found or theirs is None or scheme not in PORTS:
        return False
    if theirs[0] in {n.strip("[]").rstrip(".").lower() for n in config.names}:
        return True
    default = PORTS[scheme]
    return ours is not None and (theirs[0], theirs[1] or default) == (ours[0], ours[1] or default)


def _address(name: str) -> Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
