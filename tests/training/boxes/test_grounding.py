"""The tasks of tuning a Grounding DINO of a few numbers, and its loss."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("optax")

from gsam import bind
from gsam.errors import UsageError
from gsam.inputs.image import Picture
from gsam.models import grounding_dino as gd
from gsam.models.grounding_dino.model import map_sizes
from gsam.runtime.batch import gather
from gsam.training.boxes.grounding_features import caption_of, fused_store, image_part, keep_fused, on_maps
from gsam.training.boxes.grounding_loss import ImageTruth, answer_loss, cost, in_crowd
from gsam.training.boxes.grounding_tasks import Adapters, Decoding, caption_in
from gsam.training.data import Entry, Object
from gsam.training.lora import Lora
from tests.helpers.shapes import entries
from tests.models import small_detectors as small

NAMES = tuple("abcdghij")
"""Short, for a caption of 32 letters; to its tokenizer e and f are marks."""


def images(folder: Path) -> list[Entry]:
    """Six images, of which one is wide and one is tall."""
    found = entries(folder, 6, side=64)
    for index, (height, width) in ((1, (40, 64)), (2, (64, 48))):
        entry = found[index]
        with Image.open(entry.path) as image:
            image.crop((0, 0, width, height)).save(entry.path)
        kept = tuple(one for one in entry.objects if one.box[2] <= width and one.box[3] <= height)
        found[index] = Entry(entry.id, entry.path, width, height, kept)
    return found


@pytest.fixture(scope="module")
def decoding(tmp_path_factory: pytest.TempPathFactory) -> Decoding:
    folder = tmp_path_factory.mktemp("decoding")
    stage, some = small.stage(), images(folder)
    caption = caption_of(stage, stage.params, NAMES)
    store = fused_store(stage, folder / "features", "hash", caption)
    keys = keep_fused(stage, stage.params, store, some, caption, 2, quiet=True, what="features")
    given = (stage, NAMES, caption, some[:4], some[4:])
    return Decoding(*given, store=store, keys=keys[:4], held_out_keys=keys[4:], batch_size=2)


def adapting(folder: Path, **settings: Any) -> Adapters:
    stage, some = small.stage(), images(folder)
    given = (stage, NAMES, caption_of(stage, stage.params, NAMES), some[:4], some[4:])
    return Adapters(*given, lora=Lora(rank=2), batch_size=2, **settings)


@pytest.mark.long
def test_what_is_kept_finds_what_the_model_finds(decoding: Decoding) -> None:
    """In bfloat16, on the maps of images of another shape, and mirrored."""
    task, stage = decoding, small.stage()
    program = jax.jit(stage.detect, static_argnums=4)
    embed = jax.jit(stage.embed)
    caption = stage.text.pack_text(NAMES, lambda texts: jax.device_get(embed(stage.params, stage.text.tokenize(texts))))
    text = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], caption)
    valid = jnp.ones((1, len(NAMES)), bool)
    wide = task.together([task.kept(task.keys[i], 0, (task.train[i].height, task.train[i].width)) for i in (1, 2)])
    assert len(set(map(tuple, np.asarray(wide.size).tolist()))) == 2
    find = jax.jit(task.find)
    start = task.init_params(0)
    found = find(start, task.constants, wide)
    for row, index in enumerate((1, 2)):
        seen = gather([Picture(task.train[index].open())], [stage.view])
        boxes, labels = program(stage.params, seen, text, valid, found[0].shape[1])
        near = np.abs(np.asarray(found[1][row]) - np.asarray(labels.score[0]))
        assert np.median(near) < 0.01
        best, theirs = np.asarray(found[0][row][:3]), np.asarray(boxes.xyxy[0])
        away = np.abs(best[:, None] - theirs[None]).max(-1).min(1)
        assert away.max() < 2.0


@pytest.mark.long
def test_the_last_answer_is_what_the_model_finds(decoding: Decoding) -> None:
    seen = decoding.together([decoding.seen(0), decoding.seen(1)])

    def run(params: Any, constants: Any, seen: Any) -> Any:
        caption = caption_in(constants)
        model = small.stage().spec.bind(decoding.whole(params, constants))
        fused = decoding.fused(model, caption, seen)
        return model.every(*fused), model.read(*fused), caption.ids, decoding.words(caption)

    (alive, logits, boxes), found, ids, words = jax.jit(run)(decoding.init_params(0), decoding.constants, seen)
    assert logits.shape[1] == boxes.shape[1] == 1 + small.CONFIG.decoder_layers
    np.testing.assert_allclose(boxes[:, -1], found[1], atol=1e-5)
    np.testing.assert_allclose(np.where(alive[..., None], logits[:, -1], -np.inf), found[0], rtol=1e-4, atol=1e-4)
    assert np.abs(np.asarray(boxes[:, -1]) - np.asarray(boxes[:, 0])).max() > 1e-3
    assert [chr(int(ids[row.argmax()])) for row in np.asarray(words)] == list(NAMES)
    assert (np.asarray(words).sum(1) == 1).all()


@pytest.mark.long
def test_no_gradient_flows_from_one_answer_s_boxes_to_another(decoding: Decoding) -> None:
    config = dataclasses.replace(small.CONFIG, shared_heads=False, scaled=True)
    spec, seen = gd.spec(config), decoding.together([decoding.seen(0)])

    def last(params: Any) -> Any:
        caption = caption_in(decoding.constants)
        model = spec.bind(params)
        _, logits, boxes = model.every(*decoding.fused(model, caption, seen))
        return boxes[:, -1].sum() + jnp.where(jnp.isfinite(logits[:, -1]), logits[:, -1], 0.0).sum()

    gradient = jax.jit(jax.grad(last))(bind.random_params(spec, 3))
    moved = {name for name, value in gradient.items() if np.abs(np.asarray(value)).max() > 0}
    assert any(name.startswith("bbox_embed/1/") for name in moved)
    assert "class_embed/1/bias" in moved
    assert not [
        name for name in moved if name.startswith(("bbox_embed/0/", "class_embed/0", "transformer/enc_out_bbox"))
    ]


def test_boxes_are_mirrored_with_their_features(decoding: Decoding) -> None:
    entry, flips = decoding.train[0], set()
    plain, turned = (decoding.store.get(decoding.keys[0], "tokens", flip) for flip in (0, 1))
    for seed in range(8):
        (tokens, _, _), truth = decoding.example(np.random.default_rng(seed), 0)
        flip = bool((tokens == turned).all())
        assert flip != bool((tokens == plain).all())
        flips.add(flip)
        expected = entry.boxes / 64
        expected = (
            np.stack([1 - expected[:, 2], expected[:, 1], 1 - expected[:, 0], expected[:, 3]], 1) if flip else expected
        )
        np.testing.assert_allclose(truth.boxes[: len(expected)], expected, atol=1e-6)
    assert flips == {False, True}


def test_parts_of_maps_are_cut_out_and_laid_back() -> None:
    config = small.CONFIG
    shapes, sizes = (map_sizes(np.array(size), config) for size in ((128, 160), (96, 113)))
    assert [tuple(size) for size in sizes] == [(12, 15), (6, 8), (3, 4), (2, 2)]
    count = sum(int(h * w) for h, w in shapes)
    tokens = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    part = image_part(tokens, shapes, sizes)
    assert len(part) == sum(int(h * w) for h, w in sizes)
    np.testing.assert_array_equal(part[:15], tokens[:15])
    np.testing.assert_array_equal(part[15:30], tokens[20:35])
    laid = on_maps(part, sizes, shapes)
    assert laid.shape == tokens.shape
    np.testing.assert_array_equal(image_part(laid, shapes, sizes), part)
    assert (laid[15:20] == 0).all()


@pytest.mark.long
def test_the_decoder_learns_and_nothing_before_it_is_read(decoding: Decoding) -> None:
    task = decoding
    params = task.init_params(0)
    parts = {"/".join(name.split("/")[:2]) for name in params}
    assert {"transformer/decoder", "transformer/tgt_embed", "transformer/enc_output", "bbox_embed/0"} <= parts
    assert not [name for name in params if name.startswith(("backbone", "bert", "transformer/encoder"))]
    batch = task.batch(np.random.default_rng(0), 0)
    again = task.batch(np.random.default_rng(0), 0)
    jax.tree.map(np.testing.assert_array_equal, again, batch)
    read = jax.jit(jax.value_and_grad(lambda p: task.loss(p, task.constants, batch, jnp.zeros(()))[0]))
    first, gradient = read(params)
    silent = [name for name, g in gradient.items() if np.abs(np.asarray(g)).max() == 0]
    assert not [name for name in silent if "bias" not in name]  # a key's bias moves no attention
    loss = first
    for _ in range(20):
        params = {k: v - 0.005 * gradient[k] for k, v in params.items()}
        loss, gradient = read(params)
    assert float(loss) < 0.9 * float(first)


@pytest.mark.long
def test_adapters_begin_with_the_model_itself(tmp_path: Path, decoding: Decoding) -> None:
    task, kept = adapting(tmp_path, zoom=1.0, light=0.0), decoding
    start = task.init_params(0)
    whole = task.whole(start, task.constants)
    assert whole.keys() == small.stage().params.keys()
    for name, value in small.stage().params.items():
        np.testing.assert_array_equal(np.asarray(whole[name]), np.asarray(value))
    mine, theirs = task.detect(start), kept.detect(kept.init_params(0))
    assert len(mine) == len(theirs) == 2
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(np.sort(a.scores), np.sort(b.scores), atol=0.03)
    batch = task.batch(np.random.default_rng(0), 0)
    gradient = jax.jit(jax.grad(lambda p: task.loss(p, task.constants, batch, jnp.zeros(()))[0]))(start)
    moved = [name for name, g in gradient.items() if name.endswith("lora_b") and np.abs(np.asarray(g)).max() > 0]
    assert moved
    assert all(name.startswith("backbone") for name in moved)
    assert not [name for name in gradient if name.startswith("bert")]


def test_more_names_than_a_caption_holds_are_refused() -> None:
    stage = small.stage()
    with pytest.raises(UsageError, match="more than one caption of 32 tokens") as error:
        caption_of(stage, stage.params, ["letters", "of", "many", "words", "indeed", "too"])
    assert error.value.code == "names_too_many"


def test_the_truth_of_an_image(tmp_path: Path) -> None:
    stage = small.stage()
    objects = (
        Object(0, (0.0, 0.0, 32.0, 16.0)), Object(1, (0.0, 0.0, 64.0, 32.0), crowd=True),
        Object(2, (9.0, 9.0, 9.0, 20.0)), Object(3, (32.0, 16.0, 64.0, 32.0)),
    )  # fmt: skip
    entry = Entry("x", tmp_path / "x.png", 64, 32, objects)
    task = Adapters(stage, NAMES, caption_of(stage, stage.params, NAMES), [entry], [], lora=Lora(rank=1))
    truth = task.truth(entry.boxes, entry, (32, 64))
    assert truth.labels.tolist() == [0, 3, -1, -1]
    assert truth.boxes[:2].tolist() == [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]
    assert truth.crowds[0].tolist() == [0, 0, 1, 1]
    assert not truth.crowds[1:].any()
    wide = Entry("y", entry.path, 64, 32, (Object(0, (0.0, 0.0, 8.0, 8.0)), Object(3, (8.0, 0.0, 64.0, 32.0))))
    task.count = 1  # of more than there is room for, the largest stay
    assert task.truth(wide.boxes, wide, (32, 64)).labels.tolist() == [3]


def test_of_two_boxes_as_near_the_one_that_overlaps_more_costs_less() -> None:
    boxes = jnp.asarray([[[0.6, 0.5, 0.2, 0.2], [0.5, 0.5, 0.3, 0.2]]])  # both 0.1 away; GIoU 1/3 and 2/3
    found = cost(jnp.zeros((1, 2, 3)), boxes, jnp.full((1, 1, 3), 1 / 3), jnp.asarray([[[0.4, 0.4, 0.6, 0.6]]]))
    assert float(found[0, 0, 0] - found[0, 0, 1]) == pytest.approx(2 / 3, abs=1e-5)
    farther = cost(
        jnp.zeros((1, 1, 3)), boxes[:, :1] + 0.1, jnp.full((1, 1, 3), 1 / 3), jnp.asarray([[[0.4, 0.4, 0.6, 0.6]]])
    )
    assert float(farther[0, 0, 0]) > float(found[0, 0, 0]) + 5 * 0.39


def test_what_lies_in_a_crowd_is_not_told_that_it_is_nothing() -> None:
    logits = jnp.full((1, 3, 4), 2.0)
    boxes = jnp.asarray([[[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2], [0.2, 0.8, 0.2, 0.2]]])
    truth = ImageTruth(
        jnp.asarray([[[0.1, 0.1, 0.3, 0.3]]]), jnp.asarray([[0]]), jnp.asarray([[[0.6, 0.6, 1.0, 1.0], [0, 0, 0, 0]]])
    )
    words = jnp.asarray([[True, True, False, False]])
    alive, real = jnp.ones((1, 3), bool), jnp.ones((1, 4), bool)
    slope = jax.jit(jax.grad(lambda x, alive: answer_loss(x, boxes, alive, real, words, truth)[0]))
    gradient = slope(logits, alive)[0]
    assert (np.asarray(gradient[0, :2]) < 0).all()  # its own words are to score more
    assert (np.asarray(gradient[0, 2:]) > 0).all()
    assert (np.asarray(gradient[1]) == 0).all()
    assert (np.asarray(gradient[2]) > 0).all()
    assert np.asarray(in_crowd(truth.boxes, jnp.zeros((1, 2, 4)))).tolist() == [[False]]
    dead = jnp.asarray([[True, True, False]])
    gradient = slope(logits, dead)[0]
    assert (np.asarray(gradient[2]) == 0).all()
