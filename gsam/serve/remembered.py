"""Images that a labelling tool sends or names again with every click: encoded once, held as
sessions."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator

from starlette.requests import Request

from gsam.predictors.embedding import Embedding
from gsam.serve.clicks import encode
from gsam.serve.engine import Engine
from gsam.serve.problems import ServeError
from gsam.serve.sessions import Session, Sessions
from gsam.serve.uploads import opened


class Remembered:
    """The sessions of images, by what the images' bytes or addresses hash to.

    They count as any session: within the limits of `ServeConfig`, and forgotten like them.  Threads
    may share it.
    """

    def __init__(self, sessions: Sessions, most: int) -> None:
        """Remember images.

        Args:
            sessions: Where their features are held.
            most: Images whose session is looked for, at most.
        """
        self._sessions, self._most = sessions, most
        self._ids: collections.OrderedDict[bytes, str] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, key: bytes | str) -> Embedding | None:
        """Find the image of some bytes or an address, if it is still held."""
        with self._session(key) as session:
            return None if session is None else session.embedding

    def keep(self, key: bytes | str, embedding: Embedding) -> Session:
        """Hold an image.  Raises `ServeError` as `Sessions.add`."""
        session = self._sessions.add(embedding)
        self._note(_digest(key), session.id)
        return session

    @contextlib.asynccontextmanager
    async def using(self, request: Request, image: bytes | str | None) -> AsyncIterator[Session]:
        """Use the session of an image, which is encoded unless that was done before.

        Args:
            request: With the application that the models are of.
            image: As `gsam.serve.uploads.opened` takes it; what is at an address may change, so
                that is asked for each time.

        Raises:
            ServeError: 503 where there is no room, 422 without an image, and as `opened`.
            gsam.errors.ImageError: It cannot be read.
        """
        with contextlib.ExitStack() as stack:
            session = stack.enter_context(self._session(image)) if isinstance(image, bytes) else None
            if session is None:
                embedding = await self._encoded(request, image)
                made = self.keep(image, embedding) if isinstance(image, bytes) else self._sessions.add(embedding)
                session = stack.enter_context(self._sessions.using(made.id))
            yield session

    @contextlib.contextmanager
    def _session(self, key: bytes | str) -> Iterator[Session | None]:
        digest = _digest(key)
        with contextlib.ExitStack() as stack:
            session = None
            if (known := self._ids.get(digest)) is not None:
                with contextlib.suppress(ServeError):  # it was forgotten meanwhile
                    session = stack.enter_context(self._sessions.using(known))
                    self._note(digest, known)
            yield session

    def _note(self, digest: bytes, session: str) -> None:
        with self._lock:
            self._ids[digest] = session
            self._ids.move_to_end(digest)
            while len(self._ids) > self._most:
                self._ids.popitem(last=False)

    async def _encoded(self, request: Request, image: bytes | str | None) -> Embedding:
        engine: Engine = request.app.state.engine
        picture = await engine.read(opened, image, request.app.state.config)
        return await engine.on_images(encode, engine.predictor, picture)


def _digest(key: bytes | str) -> bytes:
    return hashlib.sha256(key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass")).digest()
