"""Images at addresses: only of hosts that the server was told, and never of a private network."""

from __future__ import annotations

import urllib.parse

from gsam.inputs.remote import fetch
from gsam.serve.config import ServeConfig
from gsam.serve.problems import ServeError


def fetch_allowed(url: str, config: ServeConfig) -> bytes:
    """Fetch an image from a host of ``allow_hosts``.

    Raises:
        ServeError: 403 ``url_forbidden``, the host is not one of them.
        ImageError: As `gsam.inputs.remote.fetch`.
    """
    try:
        host = (urllib.parse.urlsplit(url).hostname or "").lower()
    except ValueError:
        host = ""
    if host not in {name.lower() for name in config.allow_hosts}:
        raise ServeError(403, "url_forbidden", "images are not fetched from this host: start with --allow-host NAME")
    return fetch(url, private=False, most_bytes=config.max_body)
