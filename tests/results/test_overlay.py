"""The overlay: things keep their colours and are not hidden, in pictures of any size and crowd."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsam.errors import UsageError
from gsam.results.draw import colours, html, outline, placement, plates
from gsam.results.draw.colours import contrast, letters_on, shade
from gsam.results.draw.outline import Shape, paint
from gsam.results.masks.cropped import CroppedMasks
from gsam.results.masks.rle import encode
from gsam.results.result import Result
from gsam.results.tracks import TrackedFrame, Tracks

WORDS = ["person", "handbag", "dog", "cell phone", "cup"]
GREY = 90


def ellipse(h: int, w: int) -> np.ndarray:
    y, x = np.ogrid[:h, :w]
    return ((x + 0.5 - w / 2) / (w / 2)) ** 2 + ((y + 0.5 - h / 2) / (h / 2)) ** 2 <= 1


def scene(size: tuple[int, int], boxes: list[tuple[int, int, int, int]], labels: list[str] | None = None) -> Result:
    """Black ellipses in boxes x y width height, on grey."""
    pixels, parts = np.full((*size, 3), GREY, np.uint8), []
    for x, y, w, h in boxes:
        parts.append(ellipse(h, w))
        pixels[y : y + h, x : x + w][parts[-1]] = 0
    names = labels or [WORDS[i % len(WORDS)] for i in range(len(boxes))]
    at = np.array(boxes, np.int64).reshape(-1, 4)
    scores = np.linspace(0.97, 0.4, len(boxes)).astype(np.float32)
    return Result(
        pixels, sorted(set(names)), np.concatenate([at[:, :2], at[:, :2] + at[:, 2:]], 1).astype(np.float32), names,
        np.array([sorted(set(names)).index(n) for n in names]), scores, scores, CroppedMasks(at[:, 1::-1], parts, size),
    )  # fmt: skip


def crowd(count: int, size: tuple[int, int], least: int, most: int, seed: int = 0) -> Result:
    rng = np.random.default_rng(seed)
    boxes = []
    for _ in range(count):
        w, h = rng.integers(least, most, 2).tolist()
        boxes.append((int(rng.integers(0, size[1] - w)), int(rng.integers(0, size[0] - h)), w, h))
    return scene(size, boxes)


def hidden(result: Result) -> np.ndarray:
    """The share of each thing that plates and their lines hide."""
    with_plates = np.asarray(result.plot())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gsam.results.draw.overlay.put", lambda *_, **__: None)
        without = np.asarray(result.plot())
    covered = (with_plates != without).any(-1)
    return np.array([covered[mask].mean() for mask in result.masks])


@pytest.mark.parametrize("colour", [(200, 30, 30), (30, 60, 200), (250, 250, 250), (10, 10, 10)])
def test_a_thing_keeps_its_own_colour(colour: tuple[int, int, int]) -> None:
    result = scene((300, 400), [(100, 80, 150, 150)])
    result.pixels[result.masks[0]] = colour
    middle = np.asarray(result.plot())[155, 175].astype(int)
    assert np.abs(middle - colour).max() <= 256 * outline.TINT
    assert (np.asarray(result.plot(fill=0))[155, 175] == colour).all()
    solid = np.asarray(result.plot(fill=1))[155, 175]
    np.testing.assert_allclose(solid, colours.colours(result.queries)["person"], atol=1)


def test_nested_masks_do_not_add_up_to_a_colour() -> None:
    from gsam.results.draw import instance_overlay

    pixels = np.full((200, 200, 3), (220, 30, 30), np.uint8)
    masks = np.zeros((12, 200, 200), bool)
    for i in range(12):
        masks[i, 5 + 3 * i : 195 - 3 * i, 5 + 3 * i : 195 - 3 * i] = True
    records = [{"segmentation": encode(m), "area": int(m.sum())} for m in masks]
    middle = np.asarray(instance_overlay.draw(pixels, records))[100, 100].astype(int)
    assert np.abs(middle - (220, 30, 30)).max() <= 256 * outline.TINT


@pytest.mark.parametrize("fill", [-0.1, 1.5, float("nan")])
def test_an_opacity_that_is_none(fill: float) -> None:
    with pytest.raises(UsageError, match="fill is an opacity from 0 to 1"):
        scene((30, 40), [(5, 5, 9, 9)]).plot(fill=fill)


def test_an_outline_is_closed_and_inside() -> None:
    image = Image.new("RGB", (90, 60), (GREY,) * 3)
    mask = np.zeros((60, 90), bool)
    mask[10:40, 20:90] = True  # to the border
    paint(image, [encode(mask)], [(255, 0, 0)], 2, 0.0)
    red = np.asarray(image)[..., 0].astype(int) - np.asarray(image)[..., 1] > 100
    edge = mask & ~np.pad(mask, 1)[2:, 1:-1] | mask & ~np.pad(mask, 1)[:-2, 1:-1]
    edge[10:40, [20, 89]] = True
    assert red[edge].all()
    assert not red[~mask].any()
    assert (np.asarray(image)[15:35, 30:80] == GREY).all()


@pytest.mark.parametrize(("count", "size"), [(50, (534, 800)), (30, (300, 300)), (12, (600, 900)), (80, (1000, 1500))])
@pytest.mark.long
def test_plates_do_not_hide_things(count: int, size: tuple[int, int]) -> None:
    shares = hidden(crowd(count, size, 10, 60, seed=count))
    assert shares.mean() < 0.06
    assert shares.max() < 0.6


@pytest.mark.parametrize("size", [(32, 48), (20, 24), (64, 64), (8, 8), (3, 200)])
def test_tiny_pictures_are_seen(size: tuple[int, int]) -> None:
    h, w = size
    result = scene(size, [(0, 0, w // 2, h), (w // 2, h // 4, w // 2, max(h // 2, 1))], ["dog", "traffic light"])
    assert hidden(result).max() <= 0.5
    drawn = np.asarray(result.plot())
    assert (drawn == 0).all(-1).mean() + 0.75 > (result.pixels == 0).all(-1).mean()


@pytest.mark.parametrize(("count", "numbers"), [(plates.MANY, True), (plates.MANY + 1, False)])
def test_a_crowd_has_no_numbers(count: int, numbers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def picture(text: str, size: int, ink: colours.Colour) -> Image.Image:
        said.append(text)
        return Image.new("RGBA", (max(1, len(text) * size // 2), round(size * 1.3)), (*ink, 255))

    monkeypatch.setattr(plates, "text_picture", picture)
    crowd(count, (900, 900), 20, 60).plot()
    assert any(text.startswith("0.") for text in said) == numbers


@pytest.mark.parametrize("size", [(120, 1600), (534, 800), (4500, 6000), (9000, 8000)])
def test_letters_grow_with_the_picture_as_lines_do(size: tuple[int, int]) -> None:
    from gsam.results.draw.overlay import line_width

    assert 5 <= plates.letter_size(*size) / line_width(*size) <= 11
    assert plates.letter_size(*size) >= min(size) / 27


def test_a_long_label_is_no_banner() -> None:
    result = scene((600, 900), [(300, 300, 60, 60)], ["a thing that has so long a name that nobody would say it " * 3])
    changed = (np.asarray(result.plot()) != result.pixels).any(-1)
    assert changed.any(0).sum() < 900 * 0.5


def test_a_plate_that_lies_apart_has_a_line_to_its_thing() -> None:
    """Things side by side leave no room at themselves."""
    boxes = [(10 + 22 * i, 100 + 22 * k, 21, 21) for i in range(12) for k in range(4)]
    result = scene((400, 300), boxes)
    shapes = [Shape(x, y, ellipse(h, w)) for x, y, w, h in boxes]
    placed = placement.arrange([(60, 16)] * len(boxes), [(x, y, x + w, y + h) for x, y, w, h in boxes],
                               placement.Ground((300, 400), shapes))  # fmt: skip
    apart = [placement.gap((p.x, p.y, p.x + 60, p.y + 16), b) > 4
             for p, b in zip(placed, [(x, y, x + w, y + h) for x, y, w, h in boxes], strict=True)]  # fmt: skip
    assert any(apart)
    lines: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plates, "_end", lambda caption, *_: lines.append(caption) or (5, 5))
        result.plot()
    assert lines


@pytest.mark.parametrize("light", [0.64, 0.71, 0.78])
def test_words_can_be_read_on_every_colour(light: float) -> None:
    for hue in np.linspace(0, 1, 360):
        ground = shade(light, float(hue))
        assert contrast(letters_on(ground), ground) >= 4.5


def test_words_of_a_contact_sheet_can_be_read() -> None:
    from gsam.results.draw import contact_sheet

    assert contrast(contact_sheet.INK, contact_sheet.GROUND) >= 4.5
    sheet = contact_sheet.draw(
        np.full((3, 20, 30, 3), 90, np.uint8), np.ones((3, 20, 30), int), names=["cow"], numbers=[7, 8, 123]
    )
    bare = contact_sheet.draw(np.full((3, 20, 30, 3), 90, np.uint8), np.ones((3, 20, 30), int), names=["cow"])
    assert sheet.height > bare.height
    strip = np.asarray(sheet)[-24 - 12 : -24 - 2]
    assert all((strip[:, 4 + 34 * t : 34 + 34 * t].min() < 110) for t in range(3)), "every frame has a number"


def test_contrast_is_that_of_wcag() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((118, 118, 118), (255, 255, 255)) == pytest.approx(4.54, abs=0.01)


def test_png_is_quick(tmp_path: Path) -> None:
    result = scene((60, 90), [(5, 5, 30, 30)])
    path = result.save(tmp_path / "a.png")
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(result.plot()))
    quick = io.BytesIO()
    result.plot().save(quick, "PNG", compress_level=1)
    assert path.read_bytes() == quick.getvalue()


# Results in notebooks, loops and by label


def test_an_object_of_a_loop_has_a_label() -> None:
    result = scene((90, 120), [(5, 5, 30, 30), (50, 40, 20, 30)], ["dog", "cat"])
    assert [(r.label, round(r.score, 2), r.box.tolist(), r.area) for r in result] == [
        ("dog", 0.97, [5, 5, 35, 35], int(ellipse(30, 30).sum())),
        ("cat", 0.4, [50, 40, 70, 70], int(ellipse(30, 20).sum())),
    ]
    for name, many in (("label", "labels"), ("score", "scores"), ("box", "xyxy"), ("area", "areas")):
        with pytest.raises(AttributeError, match=f"2 objects have no one {name}: see {many}"):
            getattr(result, name)
    assert not hasattr(result[[]], "label")


def test_a_label_is_an_index() -> None:
    result = scene((90, 120), [(5, 5, 30, 30), (50, 40, 20, 30), (70, 5, 9, 9)], ["dog", "cat", "dog"])
    assert result["dog"].scores.tolist() == result.scores[[0, 2]].tolist()
    assert len(result[:2]["dog"]) == 1
    assert len(result[1:2]["dog"]) == 0, "asked for and not found"
    with pytest.raises(UsageError, match="no label 'dgo' in this result; did you mean 'dog'"):
        result["dgo"]
    with pytest.raises(UsageError, match="there are 'dog', 'cat'") as caught:
        result["zebra"]
    assert caught.value.code == "label_unknown"


def test_notebooks_show_a_picture_and_a_table() -> None:
    result = scene((90, 120), [(5, 5, 30, 30)], ["<b>dog & cat</b>"])
    shown = result._repr_html_()
    assert shown.count("<img") == shown.count("<table") == 1
    assert "data:image/" in shown
    assert "<b>dog" not in shown
    assert "&lt;b&gt;dog &amp; cat&lt;/b&gt;" in shown
    assert "0.97" in shown
    assert "<table" not in result[[]]._repr_html_()
    large = scene((1500, 3000), [(5, 5, 300, 300)])
    with Image.open(io.BytesIO(large._repr_png_())) as image:
        assert max(image.size) == html.SIDE
    many = scene((300, 300), [(5 * i, 5 * i, 20, 20) for i in range(40)])._repr_html_()
    assert many.count("<tr>") == 1 + html.ROWS
    assert "and 10 more" in many


def test_tracks_are_shown_too() -> None:
    mask = np.zeros((2, 40, 60), bool)
    mask[0, 5:20, 5:20] = mask[1, 25:35, 30:50] = True
    frames = [TrackedFrame.of(t, mask, [1, 300], ["dog", ""], [0.9, 0.8]) for t in range(12)]
    hidden = TrackedFrame.of(12, np.zeros((1, 40, 60), bool), [1], ["dog"])
    tracks = Tracks.of([*frames, hidden], name="clip.mp4")
    assert repr(frames[3]) == "<TrackedFrame 3, 60 x 40: dog #1, #300>"
    assert repr(tracks) == "<Tracks clip.mp4, 13 frames of 60 x 40: dog #1, #300>"
    for shown in (frames[0]._repr_html_(), tracks._repr_html_()):
        assert shown.count("<img") == shown.count("<table") == 1
        assert shown.count("<tr>") == 3
    assert "0 to 11" in tracks._repr_html_()
    nothing = Tracks([], (40, 60), 3)
    assert "<img" not in nothing._repr_html_()
    assert repr(hidden) == "<TrackedFrame 12, 60 x 40: dog #1>"
    assert "<img" in hidden._repr_html_()
