"""Images at addresses: only of hosts that the server was told, and never of a private network."""

from __future__ import annotations

import urllib.parse

from gsam.errors import ImageError
from gsam.inputs.remote import Asking, fetch
from gsam.serve.config import ALLOWED, ServeConfig
from gsam.serve.problems import ServeError, status_of

PORTS = {"http": 80, "https": 443}
PRIVATE = "this host has no public address: nothing is fetched from private networks"


def fetch_allowed(url: str, config: ServeConfig) -> bytes:
    """Fetch an image from a host of ``allow_hosts``, redirects to others refused.

    Raises:
        ServeError: 403 ``url_forbidden``, the host is not one of them; 403 ``url_private``, it is
            one of a private network; 400 ``url_invalid``; 413 ``url_too_large``; 502
            ``url_failed``, it cannot be had.  Messages do not repeat the address.
    """

    def asking(where: str) -> Asking:
        check_host(where, config)
        return Asking(private=False)

    try:
        return fetch(url, most_bytes=config.max_body, asking=asking)
    except ServeError:
        raise
    except ImageError as error:
        told = PRIVATE if error.code == "url_private" else str(error).removeprefix(f"{url}: ")
        raise ServeError(status_of(error), error.code, told) from None


def check_host(url: str, config: ServeConfig) -> None:
    """Refuse an address of another host than those of ``allow_hosts``.

    ``NAME`` there allows the ports of http and https, ``NAME:PORT`` that port.  An address without
    a host is left to `gsam.inputs.remote.fetch`, which refuses it as such.

    Raises:
        ServeError: 403 ``url_forbidden``.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return
    if not host:
        return
    port = port or PORTS.get(parts.scheme.lower())
    if (_ascii(host), port) not in {place for allowed in config.allow_hosts for place in _places(allowed)}:
        raise ServeError(403, "url_forbidden", "images are not fetched from this host: start with --allow-host NAME")


def _places(allowed: str) -> list[tuple[str, int]]:
    found = ALLOWED.fullmatch(allowed)
    if found is None:
        return []
    ports = [int(found["port"])] if found["port"] else list(PORTS.values())
    return [(_ascii(found["name"].strip("[]")), port) for port in ports]


def _ascii(host: str) -> str:
    """A host's name as resolvers compare it: lower case, Punycode, without the point at its end."""
    try:
        return host.rstrip(".").encode("idna").decode().lower()
    except UnicodeError:
        return host.rstrip(".").lower()
