"""A small Grounding DINO with random weights."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from benchmarks.harness.letter_tokenizer import LetterTokenizer
from gsam import bind
from gsam.models import grounding_dino as gd
from gsam.models.grounding_dino.config import BertConfig, SwinConfig

CONFIG = gd.Config(
    SwinConfig(32, (2, 2, 1, 1), (1, 2, 4, 4), 4),
    BertConfig(32, 1, 4, 64, 1100, 64),
    width=64,
    encoder_layers=1,
    decoder_layers=2,
    heads=4,
    hidden=64,
    queries=30,
    tokens=32,
    size=96,
    limit=160,
)


@functools.cache
def parameters() -> dict[str, Any]:
    params = bind.random_params(gd.spec(CONFIG), 3)
    for name in params:  # gates and position tables as strong as in a trained model
        if name.endswith(("gamma_v", "gamma_l", "bias_table", "sampling_offsets/bias")):
            params[name] = params[name] * 20
    return params


@functools.cache
def stage() -> gd.GroundingDinoDetector:
    return gd.build(CONFIG, parameters(), LetterTokenizer())


def vocabulary(folder: Path) -> Path:
    """BERT's marks at their places, letters as words and as pieces of words."""
    words = [f"[unused{i}]" for i in range(1100)]
    for place, word in ((0, "[PAD]"), (100, "[UNK]"), (101, "[CLS]"), (102, "[SEP]"), (103, "[MASK]"), (1012, ".")):
        words[place] = word
    words[1029] = "?"
    for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
        words[200 + i], words[300 + i] = letter, f"##{letter}"
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder
