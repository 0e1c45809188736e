"""Pictures at an address, http or https, fetched with limits and never from a private network."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gsam.errors import ImageError

SCHEME = re.compile(r"https?:/{1,2}", re.IGNORECASE)
"""Beginnings of addresses; a path loses one of the slashes."""
MOST_BYTES = 100_000_000
SECONDS = 30.0
"""For a picture as a whole."""
REDIRECTS = 5
CHUNK = 1 << 16
IETF = ipaddress.ip_network("192.0.0.0/24")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
UNICAST = ipaddress.ip_network("2000::/3")
"""All public addresses of IPv6, but those that hold one of IPv4, are of this network."""
PRIVATE = "GSAM_PRIVATE_URLS"
"""Variable that allows addresses of private networks when it is 1."""


class Asking(NamedTuple):
    """The way in which one address is asked."""

    private: bool
    """Whether it may be one of a private network."""
    headers: Mapping[str, str] = {}
    """More of the request, a token for instance."""


class StatusError(ImageError):
    """A server's answer that is no picture, by its status."""

    code = "url_failed"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def is_url(source: object) -> bool:
    """Tell whether a source is an address that `fetch` takes."""
    return isinstance(source, str) and SCHEME.match(source) is not None


def fetch(
    url: str,
    *,
    private: bool | None = None,
    most_bytes: int = MOST_BYTES,
    seconds: float = SECONDS,
    asking: Callable[[str], Asking] | None = None,
) -> bytes:
    """Fetch what is at an address.

    Each host, those of redirects included, is resolved once, refused if any of its addresses is not
    a public one, and then reached at an address that was looked at. Proxies are not used.

    Args:
        url: The address, http or https.
        private: Whether addresses that are not public (this machine, local networks, link-local)
            are allowed; by default as the variable ``GSAM_PRIVATE_URLS`` says.
        most_bytes: The most that is read.
        seconds: The longest that it may take in all.
        asking: Called with each address before it is asked, those of redirects included; it raises
            to refuse one, and otherwise decides in place of ``private``.

    Returns:
        The bytes.

    Raises:
        gsam.errors.ImageError: The address is refused (``url_private``, ``url_invalid``), cannot be
            reached or answers otherwise (``url_failed``), or gives too much (``url_too_large``).
    """
    private = os.environ.get(PRIVATE) == "1" if private is None else private
    until = time.monotonic() + seconds
    where = url
    for _ in range(REDIRECTS + 1):
        answer = _get(where, url, asking(where) if asking else Asking(private), until)
        if not isinstance(answer, str):
            return _read(answer, url, most_bytes, until)
        where = urllib.parse.urljoin(where, answer)
    raise ImageError(f"{url}: more than {REDIRECTS} redirects", "url_failed")


def name_of(url: str) -> str:
    """Give the file name in an address, ``"image"`` where it has none."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(url).path)
    return re.sub(r"[^\w.\-() ]", "_", path.rsplit("/", 1)[-1]).lstrip(".") or "image"


def _get(where: str, url: str, asking: Asking, until: float) -> http.client.HTTPResponse | str:
    """One request: the answer, or where it redirects to."""
    try:
        parts = urllib.parse.urlsplit(where)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ImageError(f"{url}: {error}", "url_invalid") from None
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise ImageError(f"{url}: only http and https addresses of a host are fetched, not {where}", "url_invalid")
    if parts.username is not None:
        raise ImageError(f"{url}: addresses with a user's name are not fetched", "url_invalid")
    secure = parts.scheme.lower() == "https"
    port = port or (443 if secure else 80)
    connection = _Pinned(host, port, _addresses(host, port, url, asking.private), secure, _left(until, url))
    target = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
    late = threading.Timer(_left(until, url), connection.end)  # each line of the answer may take its time
    late.daemon = True
    late.start()
    try:
        headers = {"User-Agent": "gsam", "Accept": "image/*,*/*;q=0.5", **asking.headers}
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as error:
        _left(until, url)
        raise ImageError(f"{url}: cannot be fetched: {_told(error)}", "url_failed") from None
    finally:
        late.cancel()
    _left(until, url)
    if answer.status in (301, 302, 303, 307, 308) and (moved := answer.headers.get("Location")):
        connection.close()
        return str(moved)
    if answer.status != 200:
        connection.close()
        raise StatusError(f"{url}: the server says {answer.status} {answer.reason}", answer.status)
    return answer


def _read(answer: http.client.HTTPResponse, url: str, most: int, until: float) -> bytes:
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > most:
        raise ImageError(f"{url}: {int(length):,} bytes, at most {most:,} are fetched", "url_too_large")
    found = bytearray()
    try:
        while block := answer.read1(CHUNK):
            found += block
            if len(found) > most:
                raise ImageError(f"{url}: more than {most:,} bytes", "url_too_large")
            _left(until, url)
    except (OSError, http.client.HTTPException) as error:
        raise ImageError(f"{url}: cannot be fetched: {_told(error)}", "url_failed") from None
    finally:
        answer.close()
    if length.isdecimal() and len(found) != int(length):
        raise ImageError(f"{url}: ended after {len(found):,} of {int(length):,} bytes", "url_failed")
    return bytes(found)


def _addresses(host: str, port: int, url: str, private: bool) -> list[str]:
    """The addresses of a host, once all of them are allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ImageError(f"{url}: {host} is not found: {_told(error)}", "url_failed") from None
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not private and not _public(address):
            text = f"{url}: {host} is {address}, not a public address; {PRIVATE}=1 allows such"
            raise ImageError(text, "url_private")
    return list(dict.fromkeys(addresses))


def _public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast and ip not in IETF
    inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
    if inner is None and ip in NAT64:
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if inner is not None:
        return _public(str(inner))
    return ip in UNICAST and ip.is_global


def _left(until: float, url: str) -> float:
    if (left := until - time.monotonic()) <= 0:
        raise ImageError(f"{url}: takes too long", "url_failed")
    return left


def _told(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


class _Pinned(http.client.HTTPConnection):
    """A connection to known addresses of a host, whatever its name means by now: the first that
    answers, so that one without IPv6 reaches a host that has both.
    """

    def __init__(self, host: str, port: int, addresses: list[str], secure: bool, seconds: float) -> None:
        super().__init__(host, port, timeout=seconds)
        self.default_port = 443 if secure else 80
        self._to, self._secure, self._seconds = addresses, secure, seconds

    def connect(self) -> None:
        made: Any = None
        for address in self._to:
            try:
                made = socket.create_connection((address, self.port), self._seconds / len(self._to))
                break
            except OSError as error:
                refused = error
        if made is None:
            raise refused
        made.settimeout(self._seconds)
        self.sock = made
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(made, server_hostname=self.host)

    def end(self) -> None:
        """Let a thread that waits for this connection go on, to find that it is over."""
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
