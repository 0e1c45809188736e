"""The pipeline on stages small enough to reason about, and on the real ones with random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import gsam
from gsam.results.formats.coco import coco_of
from gsam.text.queries import parse_queries
from gsam.types import Boxes, Images, Labels, Masks, Scene, View


class BrightDetector:
    """Finds the bounding box of what is brighter than 128; every query gets it, the first one
    best.
    """

    params = {}  # noqa: RUF012
    view = View(32, "longest")

    text = gsam.QueryFeatures(lambda queries: np.array([[len(q)] for q in queries], np.float32))

    def detect(self, params, images: Images, text, valid, n: int) -> tuple[Boxes, Labels]:
        bright = images.view(self.view)[..., 0] > 128  # [B, S, S]
        span = jnp.arange(32)

        def ends(line):
            return jnp.where(line, span, 99).min(-1), jnp.where(line, span, -1).max(-1) + 1

        (x0, x1), (y0, y1) = ends(bright.any(1)), ends(bright.any(2))
        zoom = images.size.max(-1).astype(jnp.float32)[:, None] / 32
        box = jnp.stack([x0, y0, x1, y1], -1).astype(jnp.float32) * zoom
        b, c = valid.shape
        xyxy = jnp.zeros((b, n, 4)).at[:, 0].set(box).at[:, 1].set(box + 0.1)
        scores = jnp.zeros((b, n, c)).at[:, 0].set(jnp.where(valid, 0.9 - 0.1 * jnp.arange(c, dtype=jnp.float32), 0.0))
        scores = scores.at[:, 1].set(scores[:, 0] * 0.9)
        found = bright.any((1, 2))[:, None] & (jnp.arange(n) < 2)
        return Boxes(xyxy, found), Labels(scores.argmax(-1).astype(jnp.int32), scores.max(-1), scores)


class BoxSegmenter:
    """The mask of a box is the box."""

    params = {}  # noqa: RUF012
    view = View(32, "longest")

    def features(self, params, images):
        return images.view(self.view)[:, ::4, ::4, 0].astype(jnp.float32)

    def segment(self, params, features, images, boxes):
        from gsam.ops.masks import filled

        small = jax.vmap(lambda b: filled(b, 32, 32))(
            boxes.xyxy * 32 / images.size.max(-1).astype(jnp.float32)[:, None, None]
        )
        return Masks(small, jnp.full(boxes.valid.shape, 0.5))


def picture(height: int, width: int, box: tuple[int, int, int, int] | None) -> np.ndarray:
    pixels = np.zeros((height, width, 3), np.uint8)
    if box:
        x0, y0, x1, y1 = box
        pixels[y0:y1, x0:x1] = 255
    return pixels


def pipe(*more, **settings) -> gsam.Pipeline:
    return gsam.Pipeline(BrightDetector(), BoxSegmenter(), *more, boxes=6, **settings)


def test_text_and_picture_to_labelled_mask() -> None:
    result = pipe()(picture(64, 128, (40, 16, 80, 32)), "dog. cat")
    assert result.labels == ["dog"]
    np.testing.assert_allclose(result.xyxy, [[40, 16, 80, 32]])
    assert result.masks.shape == (1, 64, 128)
    expected = np.zeros((64, 128), bool)
    expected[16:32, 40:80] = True
    assert (result.masks[0] & expected).sum() / (result.masks[0] | expected).sum() > 0.8
    assert result.scores[0] == pytest.approx(0.9)


def test_nothing_found_is_an_empty_result() -> None:
    result = pipe()(picture(64, 128, None), ["dog"])
    assert len(result) == 0
    assert result.masks.shape == (0, 64, 128)
    assert result.xyxy.shape == (0, 4)


def test_nms_and_threshold_are_run_time_values() -> None:
    p = pipe()
    bright = picture(64, 64, (8, 8, 40, 40))
    assert len(p(bright, "dog")) == 1
    programs = p.compilations
    assert len(p(bright, "dog", nms=1.0)) == 1  # one lies in the other
    assert len(p(bright, "dog", nms=1.0, inside=1.0)) == 2
    assert len(p(bright, "dog", threshold=0.95)) == 0
    assert len(p(bright, "dog", threshold=0.85, nms=1.0, inside=1.0)) == 1
    assert p.compilations == programs


def test_a_dictionary_names_the_label() -> None:
    assert pipe()(picture(32, 32, (4, 4, 9, 9)), {"a photo of a dog": "pet"}).labels == ["pet"]


class EachItsOwn(BrightDetector):
    """Gives its second box to the second query."""

    def detect(self, params, images, text, valid, n):
        boxes, labels = super().detect(params, images, text, valid, n)
        second = jnp.broadcast_to((jnp.arange(n) == 1).astype(jnp.int32), labels.index.shape)
        return boxes, Labels(second, labels.score, labels.scores)


@pytest.mark.parametrize("tile", [0, 48])
def test_queries_of_one_label_are_suppressed_as_one(tile: int) -> None:
    p = gsam.Pipeline(EachItsOwn(), BoxSegmenter(), boxes=6, nms=0.5, tile=tile)
    seen = picture(64, 64, (10, 10, 40, 40))
    assert p(seen, {"apple": "fruit", "red apple": "fruit"}).labels == ["fruit"]
    assert sorted(p(seen, {"apple": "fruit", "stone": "mineral"}).labels) == ["fruit", "mineral"]
    assert p(seen, ["ball", "thing", "Ball"]).query_labels == ["ball", "thing", "ball"]


def test_coco_has_the_labels_of_a_mapping_found_or_not() -> None:
    p = pipe()
    asked = {"moon": "sky", "ball": "toy", "sun": "sky"}
    found, nothing = p(picture(64, 64, (10, 10, 40, 40)), asked), p(picture(64, 64, None), asked)
    for results in ([found], [nothing], [nothing, found], [found, nothing]):
        coco = coco_of([r.to_dict() for r in results]).to_dict()
        assert [c["name"] for c in coco["categories"]] == ["sky", "toy"]
    assert "query_labels" not in p(picture(64, 64, None), "ball").to_dict()


def test_label_ids_are_places_in_the_list_that_was_given() -> None:
    classes = ["", "ball", "BALL", "N/A"]
    found = pipe()(picture(64, 64, (10, 10, 40, 40)), classes)
    assert found.queries == classes
    assert [classes[i] for i in found.label_ids] == found.labels == ["ball"]
    assert [c["name"] for c in found.to_coco()["categories"]] == ["ball", "N/A"]


def test_your_own_step_fits_between() -> None:
    def only_large(scene: Scene) -> Scene:
        side = scene.boxes.xyxy[..., 2] - scene.boxes.xyxy[..., 0]
        return dataclasses.replace(scene, boxes=dataclasses.replace(scene.boxes, valid=scene.boxes.valid & (side > 20)))

    p = gsam.Pipeline(BrightDetector(), only_large, BoxSegmenter(), boxes=6)
    assert len(p(picture(64, 64, (0, 0, 10, 10)), "dog")) == 0
    assert len(p(picture(64, 64, (0, 0, 30, 30)), "dog")) == 1


def test_steps_that_are_no_steps() -> None:
    with pytest.raises(TypeError, match="detector"):
        gsam.Pipeline(BoxSegmenter())
    with pytest.raises(TypeError, match="neither"):
        gsam.Pipeline(BrightDetector(), 3)  # type: ignore[arg-type]


def test_stream_keeps_order_and_reports_the_bad(tmp_path: Path) -> None:
    paths = []
    for i in range(11):
        path = tmp_path / f"{i:02}.png"
        if i == 4:
            path.write_bytes(b"not a picture")
        else:
            Image.fromarray(picture(40 + i, 60, (0, 0, 10 + i, 10))).save(path)
        paths.append(path)
    p, bad = pipe(), []
    found = list(p.stream(paths, "dog", batch_size=4, on_error=lambda source, error: bad.append(source)))
    assert bad == [paths[4]]
    assert [r.image for r in found] == [f"{i:02}.png" for i in range(11) if i != 4]
    alone = [p(path, "dog") for path in paths if path != paths[4]]
    for a, b in zip(found, alone, strict=True):
        np.testing.assert_array_equal(a.xyxy, b.xyxy)
        np.testing.assert_array_equal(a.masks, b.masks)
    with pytest.raises(gsam.GsamError):
        list(p.stream(paths, "dog", batch_size=4))


def test_stream_computes_no_more_pictures_than_there_are() -> None:
    pictures = [picture(64, 64, (8, 8, 20 + i, 40)) for i in range(11)]
    p = pipe()
    assert len(list(p.stream(pictures[:2], "dog", batch_size=8))) == 2
    assert p.counts["pictures"] == 2
    list(p.stream(pictures[:3], "dog"))  # one after the other on a CPU
    assert p.counts["pictures"] == 5
    before = p.compilations
    list(p.stream(pictures, "dog", batch_size=2))
    assert p.counts["pictures"] == 17  # the last is filled up to the program that is there
    assert p.compilations == before


def test_one_program_computes_all_where_that_is_asked_for() -> None:
    pairs = [(picture(64, 64, (8, 8, 20 + i, 40)), parse_queries("dog")) for i in range(3)]
    for fixed in (False, True):
        p = pipe()
        assert len(list(p.answers(pairs[:1], gsam.open_image, batch_size=4, fixed=fixed))) == 1
        assert p.counts["pictures"] == (4 if fixed else 1)
        before = p.compilations
        assert len(list(p.answers(pairs, gsam.open_image, batch_size=4, fixed=fixed))) == 3
        assert (p.compilations == before) is fixed


def test_stream_is_bounded() -> None:
    taken = []

    def endless():
        for i in range(10_000):
            taken.append(i)
            yield picture(32, 32, (4, 4, 9, 9))

    stream = pipe().stream(endless(), "dog", batch_size=2)
    for _ in range(4):
        next(stream)
    assert len(taken) < 20


@pytest.mark.long
def test_apply_is_pure_and_composes() -> None:
    p = pipe()
    images, tokens = p.prepare([picture(64, 64, (8, 8, 40, 40)), picture(32, 48, None)], "dog")
    plain = p.apply(p.params, images, tokens)
    jitted = jax.jit(p.apply)(p.params, images, tokens)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), plain, jitted)
    assert plain.boxes.valid.sum(-1).tolist() == [1, 0]


def test_batches_spread_over_devices() -> None:
    pictures = [picture(64, 64, (8, 8, 20 + i, 40)) for i in range(8)]
    one = list(pipe().stream(pictures, "dog", batch_size=8))
    four = list(pipe(devices=jax.devices()).stream(pictures, "dog", batch_size=8))
    assert len(jax.devices()) == 4
    for a, b in zip(one, four, strict=True):
        np.testing.assert_array_equal(a.masks, b.masks)


def test_a_bounded_number_of_programs() -> None:
    p = pipe()
    rng = np.random.default_rng(0)
    for i in range(20):
        height, width = rng.integers(20, 200, 2)
        p(picture(height, width, (0, 0, 9, 9)), [f"thing {k}" for k in range(1 + i % 10)])
    assert p.compilations <= 4


def test_two_labels_for_one_thing() -> None:
    """A detector that gives its second box another label: kept as it is, or as a duplicate of the
    better one dropped.
    """

    class TwoNames(BrightDetector):
        def detect(self, params, images, text, valid, n):
            boxes, labels = super().detect(params, images, text, valid, n)
            second = (jnp.arange(n) == 1).astype(jnp.int32)
            return boxes, Labels(jnp.broadcast_to(second, labels.index.shape), labels.score, labels.scores)

    p = gsam.Pipeline(TwoNames(), BoxSegmenter(), boxes=6)
    bright = picture(64, 64, (8, 8, 40, 40))
    assert p(bright, "dog. cat").labels == ["dog", "cat"]
    assert p(bright, "dog. cat", duplicate=0.9).labels == ["dog"]
