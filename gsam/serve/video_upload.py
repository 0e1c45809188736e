"""A video that comes as a form, written to disk while it arrives."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from anyio import to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from gsam.serve.problems import ServeError
from gsam.serve.uploads import FORM
from gsam.serve.video_folder import writing
from gsam.serve.waiting import GONE

FIELD = "video"
MOST_HEAD = 1 << 14
"""Bytes of the headers of the form's part."""


class _Form:
    """The one part of a form; its data is collected in ``chunks``."""

    def __init__(self, boundary: bytes) -> None:
        self.chunks: list[bytes] = []
        self.parts = 0
        self.whole = False
        self._head = b""
        self._name = b""
        self._disposition = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_end": self._end,
            },
            max_header_size=MOST_HEAD,
        )

    def feed(self, data: bytes) -> list[bytes]:
        """Read on in the body, and give what there is of the file."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise ServeError(400, "body_invalid", "the body is no form") from None
        found, self.chunks = self.chunks, []
        return found

    def _begin(self) -> None:
        self.parts += 1
        if self.parts > 1:
            raise ServeError(422, "field_twice", f"the form has one field, the file {FIELD}")
        self._disposition = b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._head += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._head
        self._name = self._head = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != FIELD.encode():
            raise ServeError(422, "video_field", f"the file of the form is called {FIELD}")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.chunks.append(data[start:end])

    def _end(self) -> None:
        self.whole = True


async def receive(request: Request, place: Path, most: int) -> None:
    """Write the file of a form to disk.

    Args:
        request: ``multipart/form-data`` with one file, ``video``; the name that it has on the
            client's machine is not looked at.
        place: A file that is not there yet; what was written stays there after an error.
        most: Bytes of the file.

    Raises:
        ServeError: 400 ``body_invalid``, 413 ``body_too_large``, 415 ``content_type``, 422
            ``video_field`` or ``field_twice``, 499 ``client_gone``, 503 ``storage_full``.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind.decode("latin-1").lower() != FORM:
        raise ServeError(415, "content_type", f"a video is sent as {FORM}, not {kind.decode('latin-1')[:80]}")
    if not options.get(b"boundary"):
        raise ServeError(400, "body_invalid", "the form has no boundary")
    try:
        form = _Form(options[b"boundary"])
    except FormParserError:
        raise ServeError(400, "body_invalid", "the boundary of the form is too long") from None
    try:
        with writing(), place.open("xb") as file:
            await _copy(request, form, file, most)
    except ClientDisconnect:
        raise ServeError(GONE, "client_gone", "the client has left") from None
    if not form.whole:
        raise ServeError(400, "body_invalid", "the form ends before its last boundary, or is empty")
    if not form.parts:
        raise ServeError(422, "video_field", f"the form has no file {FIELD}")


async def _copy(request: Request, form: _Form, file: BinaryIO, most: int) -> None:
    written = 0
    async for data in request.stream():
        for chunk in form.feed(data):
            written += len(chunk)
            if written > most:
                raise ServeError(413, "body_too_large", f"a video has at most {most:,} bytes here")
            await to_thread.run_sync(file.write, chunk)
