"""Label Studio's access tokens: legacy ones as they are, personal ones by the token they get."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Mapping

from gsam.errors import ImageError
from gsam.inputs.remote import StatusError

FRESH = 240.0
"""Seconds that an access token is used; Label Studio's live for five minutes."""
SECONDS = 5.0
MOST = 1 << 16


class AccessToken:
    """A token of a user, and the header that shows it.

    Args:
        token: A legacy token (hexadecimal), or a personal one, which is a refresh token in the form
            of a JWT.  None for none.
    """

    def __init__(self, token: str | None) -> None:
        self._token = (token or "").strip() or None
        self._lock = threading.Lock()
        self._access: tuple[str, float] | None = None

    def __bool__(self) -> bool:
        return self._token is not None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'given' if self else 'missing'}>"

    def headers(self, url: str) -> Mapping[str, str]:
        """The header for a request to Label Studio.

        Args:
            url: Where Label Studio is, without a slash at the end.

        Raises:
            ImageError: The token cannot be exchanged for one that is shown.
        """
        if self._token is None:
            return {}
        if self._token.count(".") != 2:
            return {"Authorization": f"Token {self._token}"}
        with self._lock:
            now = time.monotonic()
            if self._access is None or self._access[1] <= now:
                self._access = _refreshed(url, self._token), now + FRESH
            return {"Authorization": f"Bearer {self._access[0]}"}

    def forget(self) -> bool:
        """Exchange the token anew at the next request; whether that may help."""
        with self._lock:
            had, self._access = self._access is not None, None
        return had


def _refreshed(url: str, token: str) -> str:
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=SECONDS)
    try:
        body = json.dumps({"refresh": token})
        connection.request("POST", f"{parts.path}/api/token/refresh/", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read(MOST)
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise ImageError(f"its token cannot be refreshed: {why}", "url_failed") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise StatusError("the token was refused", 401 if answer.status in (400, 401, 403) else answer.status)
    try:
        return str(json.loads(text)["access"])
    except (ValueError, LookupError, TypeError):
        raise ImageError("its token cannot be refreshed: the answer has none", "url_failed") from None
