"""The words of nano, and the scenes it learns from: the truth fits the picture, and a seed makes
one scene.
"""

from __future__ import annotations

import collections
import json
from pathlib import Path

import numpy as np
import pytest

from gsam.evaluation.matching import noun
from gsam.nano import pool, scenes
from gsam.nano.backgrounds import KINDS, background
from gsam.nano.names import ANSWERS, CONTEXT, GENERICS, GLYPHS, LEAVES, QUERIES, any_names, words, write_tokenizer
from gsam.text.tokenizer import load_tokenizer

TOKENIZER = Path(__file__).parents[2] / "weights" / "nano" / "tokenizer.json"
PROMISED = {
    "dog": "🐕", "cat": "🐈", "car": "🚗", "bus": "🚌", "bicycle": "🚲", "red apple": "🍎", "green apple": "🍏",
    "banana": "🍌", "pizza": "🍕", "key": "🔑", "umbrella": "☂", "tree": "🌳", "fish": "🐟", "horse": "🐎",
    "elephant": "🐘", "airplane": "✈", "clock": "⏰", "guitar": "🎸", "hammer": "🔨", "scissors": "✂", "chair": "🪑",
    "book": "📕", "camera": "📷", "bell": "🔔",
}  # fmt: skip


def has_font() -> bool:
    try:
        return scenes.font_path().is_file()
    except FileNotFoundError:
        return False


needs_font = pytest.mark.skipif(not has_font(), reason="drawing needs the font Noto Color Emoji")


def leaf(name: str) -> np.ndarray:
    return ANSWERS[LEAVES.index(name)]


def test_the_vocabulary_has_what_was_promised() -> None:
    assert len(LEAVES) >= 76
    assert len(set(QUERIES)) == len(QUERIES)
    for name, glyph in PROMISED.items():
        shown = [leaf for leaf in LEAVES if ANSWERS[LEAVES.index(leaf), QUERIES.index(name)]]
        assert any(GLYPHS[leaf][0] == glyph for leaf in shown), name
    everything = "".join(GLYPHS.values())
    assert len(set(everything)) == len(everything)
    assert not set(everything) & set(scenes.NEGATIVES)
    colours = [n for n in LEAVES if " " in n and sum(m.split()[-1] == n.split()[-1] for m in LEAVES) > 1]
    assert len(colours) >= 8


def test_a_thing_answers_its_name_and_its_noun_and_nothing_else() -> None:
    assert ANSWERS.shape == (len(LEAVES), len(QUERIES))
    assert {q for q, right in zip(QUERIES, leaf("red apple"), strict=True) if right} == {"red apple", "apple"}
    assert {q for q, right in zip(QUERIES, leaf("dog"), strict=True) if right} == {"dog"}
    assert {q for q, right in zip(QUERIES, leaf("palm tree"), strict=True) if right} == {"palm tree", "tree"}
    assert ANSWERS[:, QUERIES.index("apple")].sum() == 2
    assert ANSWERS[:, QUERIES.index("book")].sum() == 4
    assert set(GENERICS) <= set(QUERIES)
    judged = [[noun(name, query) for query in QUERIES] for name in LEAVES]
    np.testing.assert_array_equal(ANSWERS, judged)  # what is trained for is what is measured


def test_the_shipped_tokenizer_is_the_one_that_is_written(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer.json")
    assert json.loads((tmp_path / "tokenizer.json").read_text()) == json.loads(TOKENIZER.read_text())


def test_every_query_is_read_word_by_word() -> None:
    known = words()
    ids = load_tokenizer(TOKENIZER).encode(QUERIES, CONTEXT)
    end = len(known) - 1
    assert ids.dtype == np.int32
    assert ids.shape == (len(QUERIES), CONTEXT)
    assert (ids[:, 0] == 1).all()
    assert (ids.max(1) == end).all()  # the towers are read at the highest id
    for query, row in zip(QUERIES, ids, strict=True):
        stop = int(row.argmax())
        assert [known[i] for i in row[1:stop]] == query.split()
        assert not row[stop + 1 :].any()


def test_plurals_case_and_words_it_does_not_know() -> None:
    tokenizer, known = load_tokenizer(TOKENIZER), words()
    ids = tokenizer.encode(["Dogs", "dog", "  A photo of a RED apple ", "bus", "buses"], CONTEXT)
    assert [known[i] for i in ids[0] if i] == ["[BOS]", "dog", "##s", "[EOS]"]
    assert [known[i] for i in ids[2] if i] == ["[BOS]", "a", "photo", "of", "a", "red", "apple", "[EOS]"]
    assert [known[i] for i in ids[4] if i] == ["[BOS]", "bus", "##es", "[EOS]"]
    assert not (ids == known.index("[UNK]")).any()
    with pytest.warns(UserWarning, match="zeppelin"):
        unknown = tokenizer.encode(["red zeppelin"], CONTEXT)
    assert [known[i] for i in unknown[0] if i] == ["[BOS]", "red", "[UNK]", "[EOS]"]


@pytest.mark.parametrize("kind", list(KINDS))
def test_backgrounds_fill_any_shape(kind: str) -> None:
    made = KINDS[kind](np.random.default_rng(0), 33, 50)
    assert made.shape == (33, 50, 3)
    assert np.isfinite(made).all()
    assert background(np.random.default_rng(1), 50, 33, (kind,)).dtype == np.float32


@needs_font
@pytest.mark.parametrize("size", [(160, 160), (96, 160), (300, 200)])
def test_boxes_are_tight_around_what_is_visible(size: tuple[int, int]) -> None:
    for seed in range(12):
        drawn = scenes.draw_scene(np.random.default_rng(seed), size)
        assert drawn.rgb.shape == (*size, 3)
        assert drawn.rgb.dtype == drawn.instances.dtype == np.uint8
        assert drawn.boxes.shape == (len(drawn.names), 4)
        assert len(drawn.names) <= 8
        assert set(drawn.names) <= set(LEAVES)
        assert set(np.unique(drawn.instances)) <= {0, scenes.IGNORE, *range(1, len(drawn.names) + 1)}
        for k, box in enumerate(drawn.boxes, 1):
            y, x = np.nonzero(drawn.instances == k)
            assert len(y) >= scenes.LEAST_AREA * max(size) ** 2
            assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]


@needs_font
def test_a_seed_makes_one_scene() -> None:
    one, same, other = (scenes.draw_scene(np.random.default_rng(s), (120, 160)) for s in (5, 5, 6))
    assert one.rgb.tobytes() == same.rgb.tobytes()
    assert one.instances.tobytes() == same.instances.tobytes()
    assert one.names == same.names
    assert one.rgb.tobytes() != other.rgb.tobytes()


@needs_font
def test_what_is_asked_for_is_drawn_where_the_truth_says() -> None:
    white = np.full((160, 160, 3), 255, np.uint8)
    for seed in range(6):
        drawn = scenes.draw_scene(np.random.default_rng(seed), (160, 160), names=["black heart"], backdrop=white)
        assert drawn.names in ([], ["black heart"])
        if drawn.names:
            inside = drawn.rgb[drawn.instances == 1].mean()
            assert inside < drawn.rgb[drawn.instances == 0].mean() - 60
    assert (white == 255).all()


@needs_font
def test_a_pool_row_is_letterboxed_and_its_boxes_fit() -> None:
    for number in range(8):
        rgb, instances, named, boxes, content = pool.draw_row((3, number))
        again = pool.draw_row((3, number))
        assert rgb.tobytes() == again[0].tobytes()
        h, w = content
        assert max(h, w) == 160
        assert rgb.shape == (160, 160, 3)
        assert not rgb[h:].any()
        assert not rgb[:, w:].any()
        assert not instances[h:].any()
        assert not instances[:, w:].any()
        for k in range(int((named >= 0).sum())):
            y, x = np.nonzero(instances == k + 1)
            x0, y0, x1, y1 = boxes[k]  # of the larger drawing: a thread one pixel wide may be gone from the small map
            assert x0 - 1 <= x.min() < x.max() <= x1
            assert y0 - 1 <= y.min() < y.max() <= y1
            assert (x.max() - x.min() + 1) * (y.max() - y.min() + 1) > 0.6 * (x1 - x0) * (y1 - y0)


def test_names_that_come_often() -> None:
    drawn = any_names(np.random.default_rng(0), 20_000, ("key", "bicycle"))
    share = collections.Counter(drawn)
    assert set(share) == set(LEAVES)
    rest = 20_000 / (len(LEAVES) + 4)
    assert share["key"] == pytest.approx(3 * rest, rel=0.15)
    assert share["bicycle"] == pytest.approx(3 * rest, rel=0.15)
    assert share["dog"] == pytest.approx(rest, rel=0.25)
    with pytest.raises(ValueError, match="draws no bike"):
        any_names(np.random.default_rng(0), 1, ("bike",))


@needs_font
@pytest.mark.parametrize("shares", [{}, {"stills": 1.0}, {"close": 1.0}], ids=["scenes", "stills", "close-ups"])
def test_a_pool_may_draw_some_names_often(shares: dict[str, float]) -> None:
    found: collections.Counter[str] = collections.Counter()
    for number in range(80):
        _, _, drawn, _, _ = pool.draw_row((3, number), 96, often=("key",), **shares)  # type: ignore[arg-type]
        found.update(LEAVES[i] for i in drawn if i >= 0)
    usual = found.total() / len(LEAVES)
    assert found["key"] > 1.6 * usual


@needs_font
def test_the_named_glyph_is_drawn_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    drawn = [scenes.pick(rng, "dog") for _ in range(400)]
    assert 0.42 < drawn.count("🐕") / 400 < 0.58
    assert set(drawn) == set(GLYPHS["dog"])
    assert scenes.pick(rng, None) in scenes.NEGATIVES


def test_without_the_font_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "FONTS", ())
    monkeypatch.delenv("GSAM_EMOJI_FONT", raising=False)
    scenes.font_path.cache_clear()
    try:
        with pytest.raises(FileNotFoundError, match="fonts-noto-color-emoji"):
            scenes.font_path()
    finally:
        scenes.font_path.cache_clear()


def test_the_font_may_be_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "emoji.ttf"
    file.write_bytes(b"")
    monkeypatch.setenv("GSAM_EMOJI_FONT", str(file))
    scenes.font_path.cache_clear()
    try:
        assert scenes.font_path() == file
    finally:
        scenes.font_path.cache_clear()
