"""Images at addresses: only of hosts that the server was told, and never of a private network."""

from __future__ import annotations

import urllib.parse

from gsam.inputs.remote import Asking, fetch
from gsam.serve.config import ServeConfig
from gsam.serve.problems import ServeError


def fetch_allowed(url: str, config: ServeConfig) -> bytes:
    """Fetch an image from a host of ``allow_hosts``, redirects to others refused.

    Raises:
        ServeError: 403 ``url_forbidden``, the host is not one of them.
        ImageError: As `gsam.inputs.remote.fetch`.
    """

    def asking(where: str) -> Asking:
        check_host(where, config)
        return Asking(private=False)

    return fetch(url, most_bytes=config.max_body, asking=asking)


def check_host(url: str, config: ServeConfig) -> None:
    """Raise `ServeError` 403 ``url_forbidden`` for an address of another host."""
    try:
        host = (urllib.parse.urlsplit(url).hostname or "").lower()
    except ValueError:
        host = ""
    if host not in {name.lower() for name in config.allow_hosts}:
        raise ServeError(403, "url_forbidden", "images are not fetched from this host: start with --allow-host NAME")
