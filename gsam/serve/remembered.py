"""Images that a labelling tool sends again with every click: encoded once, held as sessions."""

from __future__ import annotations

import collections
import contextlib
import hashlib
from collections.abc import AsyncIterator

from starlette.requests import Request

from gsam.predictors.embedding import Embedding
from gsam.serve.clicks import encode
from gsam.serve.engine import Engine
from gsam.serve.problems import ServeError
from gsam.serve.sessions import Session, Sessions
from gsam.serve.uploads import opened


class Remembered:
    """The sessions of images, by what the images' bytes hash to.

    They count as any session: within the limits of `ServeConfig`, and forgotten like them.
    """

    def __init__(self, sessions: Sessions, most: int) -> None:
        """Remember images.

        Args:
            sessions: Where their features are held.
            most: Images whose session is looked for, at most.
        """
        self._sessions, self._most = sessions, most
        self._ids: collections.OrderedDict[bytes, str] = collections.OrderedDict()

    @contextlib.asynccontextmanager
    async def using(self, request: Request, image: bytes | str | None) -> AsyncIterator[Session]:
        """Use the session of an image, which is encoded unless that was done before.

        Args:
            request: With the application that the models are of.
            image: As `gsam.serve.uploads.opened` takes it.

        Raises:
            ServeError: 503 where there is no room, 422 without an image, and as `opened`.
            gsam.errors.ImageError: It cannot be read.
        """
        digest = hashlib.sha256(image).digest() if isinstance(image, bytes) else None
        with contextlib.ExitStack() as stack:
            session = None
            if digest is not None and digest in self._ids:
                with contextlib.suppress(ServeError):  # it was forgotten meanwhile
                    session = stack.enter_context(self._sessions.using(self._ids[digest]))
            if session is None:
                embedding = await self._encoded(request, image)
                session = stack.enter_context(self._sessions.using(self._sessions.add(embedding).id))
            if digest is not None:
                self._ids[digest] = session.id
                self._ids.move_to_end(digest)
                while len(self._ids) > self._most:
                    self._ids.popitem(last=False)
            yield session

    async def _encoded(self, request: Request, image: bytes | str | None) -> Embedding:
        engine: Engine = request.app.state.engine
        picture = await engine.read(opened, image, request.app.state.config)
        return await engine.on_images(encode, engine.predictor, picture)
