"""Text -> padded token ids.  `tokenizers` is imported when the first text is read."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gsam.errors import CheckpointError
from gsam.text.queries import shorten
from gsam.text.vocabulary import SMALL, Told


@runtime_checkable
class Tokenizer(Protocol):
    """Text to padded token ids and back."""

    def encode(self, texts: Sequence[str], context: int, pad: int = 0) -> NDArray[np.int32]:
        """Token ids [len(texts), context] with the model's marks, padded with ``pad``."""

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids as a text, marks included."""

    def spell(self, ids: Sequence[int]) -> list[str]:
        """Each id's own spelling, ``""`` for padding."""

    def dumps(self) -> str:
        """The text of a ``tokenizer.json`` that `load_tokenizer` reads back."""


class FastTokenizer:
    """A `Tokenizer` by the package `tokenizers`."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._unknown = next((i for w in ("[UNK]", "<unk>") if (i := inner.token_to_id(w)) is not None), None)
        self.told = Told(small=inner.get_vocab_size() < SMALL)
        """Record of the words that were told as unknown."""
        self._told: set[str] = set()
        self.limit: int | None = None
        """Number of tokens that the model knows; None where that is not known."""

    def encode(self, texts: Sequence[str], context: int, pad: int = 0) -> NDArray[np.int32]:
        """[C, context] int32, padded with ``pad``; a longer text keeps its end mark.

        Words that a closed vocabulary does not have are told once, as a warning.

        Raises:
            CheckpointError: A token is none of the model's (``tokenizer_mismatch``).
        """
        ids = np.full((len(texts), context), pad, np.int32)
        for row, text in zip(ids, texts, strict=True):
            encoded = self._inner.encode(text)
            found = encoded.ids
            if self.limit is not None and max(found, default=0) >= self.limit:
                token = self._inner.id_to_token(max(found))
                raise CheckpointError(
                    f"the tokenizer reads {token!r} in {shorten(text)!r} as token {max(found):,}, and the model knows "
                    f"{self.limit:,}: it is another model's",
                    "tokenizer_mismatch",
                )
            if self._unknown is not None and self._unknown in found:
                self.told.unknown(
                    [text[a:b] for i, (a, b) in zip(found, encoded.offsets, strict=True) if i == self._unknown]
                )
            if len(found) > context and text not in self._told:
                self._told.add(text)
                warnings.warn(f"{shorten(text)!r} is longer than {context} tokens, the rest is not read", stacklevel=2)
            if len(found) > context:
                found = [*found[: context - 1], found[-1]]
            row[: len(found)] = found
        return ids

    @property
    def size(self) -> int:
        """Number of tokens, added ones included."""
        return int(self._inner.get_vocab_size(True))

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids -> text, marks included."""
        return str(self._inner.decode(list(ids), skip_special_tokens=False))

    def spell(self, ids: Sequence[int]) -> list[str]:
        """Each id's own spelling, ``""`` for padding."""
        return [(self._inner.id_to_token(i) or "") if i else "" for i in ids]

    def dumps(self) -> str:
        """The text of a ``tokenizer.json`` that `load_tokenizer` reads back."""
        return str(self._inner.to_str())


@dataclasses.dataclass(frozen=True)
class Caption:
    """The tokens of queries that are read as one text."""

    ids: list[int]
    """Token ids, 0 for padding."""
    words: list[str]
    """The tokens' own spelling, ``""`` for padding."""
    decode: Callable[[Sequence[int]], str]
    """Turns token ids back into text."""
    special: frozenset[int] = frozenset()
    """Ids that are no words: the mark at the beginning."""
    shape: tuple[int, int] = (1, 0)
    """Number of captions and of tokens in each."""

    def phrase(self, scores: NDArray[np.float32], threshold: float) -> str:
        """Join the words that score above a threshold as GroundingDINO's own demo does.

        Phrases may come out merged, cut or empty, and with blanks at their ends where a point
        fired: this is for comparing with it, labels are better taken from the queries.

        Source: ``get_phrases_from_posmap``.

        Args:
            scores: [T] float32 in 0..1, one per token.
            threshold: Words that score above this are joined.

        Returns:
            The phrase.
        """
        fired = [i for i, s in zip(self.ids, scores, strict=True) if s > threshold and i and i not in self.special]
        return self.decode(fired).replace(".", "")


def load_tokenizer(path: Path) -> FastTokenizer:
    """Load a tokenizer.

    Args:
        path: A ``tokenizer.json``, or a folder with one, with CLIP's ``vocab.json`` and
            ``merges.txt`` or OpenAI's ``bpe_simple_vocab_16e6.txt.gz``, or with BERT's
            ``vocab.txt``.

    Raises:
        CheckpointError: There is none, or it is not readable.
    """
    from tokenizers import Tokenizer as Inner

    path = Path(path)
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        try:
            inner = Inner.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"{file} is not a tokenizer: {error}", "tokenizer_invalid") from error
        inner.no_padding()
        inner.no_truncation()
        return FastTokenizer(inner)
    if (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
        return FastTokenizer(_clip(path))
    if (path / "vocab.txt").is_file():
        return FastTokenizer(_bert(path / "vocab.txt"))
    if (path / OPENAI).is_file():
        return FastTokenizer(_bytes_and_merges(*_openai(path / OPENAI)))
    text = f"no tokenizer.json (nor vocab.json and merges.txt, nor vocab.txt) in {path}"
    raise CheckpointError(text, "tokenizer_missing")


OPENAI = "bpe_simple_vocab_16e6.txt.gz"
"""CLIP's vocabulary as OpenAI ships it."""
OPENAI_MERGES = 49152 - 256 - 2
"""Merges that are read of it; the rest of the file is of a larger vocabulary."""
LONGEST_FILE = 16 << 20
"""Bytes that it may unpack to."""


def _clip(folder: Path) -> Any:
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    return _bytes_and_merges(vocabulary, _merges((folder / "merges.txt").read_text(encoding="utf-8")))


def _merges(text: str) -> list[tuple[str, str]]:
    lines = [line.split() for line in text.splitlines() if not line.startswith("#version")]
    return [(parts[0], parts[1]) for parts in lines if len(parts) == 2]


def _openai(file: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's vocabulary and merges, of the list of merges alone."""
    import gzip

    try:
        with gzip.open(file) as opened:
            text = opened.read(LONGEST_FILE).decode()
    except (OSError, EOFError, ValueError) as error:
        raise CheckpointError(f"{file} is not a tokenizer: {error}", "tokenizer_invalid") from error
    merges = _merges(text.split("\n", 1)[-1])[:OPENAI_MERGES]  # the first line is a title
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in plain] + [chr(256 + n) for n in range(256 - len(plain))]
    words = [*letters, *(c + "</w>" for c in letters), *(a + b for a, b in merges), "<|startoftext|>", "<|endoftext|>"]
    return {word: i for i, word in enumerate(words)}, merges


def _bytes_and_merges(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Any:
    """CLIP's byte-level BPE (openai/CLIP ``simple_tokenizer.py``)."""
    from tokenizers import Regex, models, normalizers, pre_tokenizers, processors
    from tokenizers import Tokenizer as Inner

    begin, end = "<|startoftext|>", "<|endoftext|>"
    model: Any = models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", unk_token=end)
    inner = Inner(model)
    inner.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pattern = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    inner.add_special_tokens([begin, end])
    inner.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, vocabulary[begin]), (end, vocabulary[end])]
    )
    return inner


def _bert(file: Path) -> Any:
    """BERT's uncased word pieces (google-research/bert ``tokenization.py``)."""
    from tokenizers import BertWordPieceTokenizer

    return BertWordPieceTokenizer(str(file), lowercase=True)
