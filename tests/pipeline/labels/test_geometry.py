"""Labels must land where the pixels land: every move is checked against the moved picture itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from methods.errors import BadSample
from pipeline import codec
from pipeline.labels import Annotation, Labels, Transform, align, clip, rle

W, H = 48, 36


def box_mask(box: tuple[float, float, float, float], size: tuple[int, int] = (W, H)) -> np.ndarray:
    x, y, w, h = (round(side) for side in box)
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max() - xs.min() + 1), int(ys.max() - ys.min() + 1)


def rectangle(box: tuple[float, float, float, float]) -> list[float]:
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def labelled(box: tuple[float, float, float, float]) -> Labels:
    x, y, w, h = box
    polygon = Annotation("b", 2, box, segmentation=[rectangle(box)], area=w * h, attributes={"keypoints": [x, y, 2]})
    mask = Annotation("a", 1, box, rle=rle.encode(box_mask(box)), area=w * h)
    return Labels(W, H, [polygon, mask], raw="{}")


boxes = st.builds(
    lambda x, y, w, h: (x, y, min(w, W - x), min(h, H - y)),
    st.integers(0, W - 1),
    st.integers(0, H - 1),
    st.integers(1, W),
    st.integers(1, H),
)


def check(moved: Labels, mask: np.ndarray) -> None:
    """Box, polygon, mask and area of both annotations agree with the moved pixels."""
    assert (moved.height, moved.width) == mask.shape
    for annotation in moved.annotations:
        assert annotation.bbox == pytest.approx(bounds(mask))
        assert annotation.area == pytest.approx(mask.sum())
        if annotation.rle is not None:
            np.testing.assert_array_equal(rle.decode(annotation.rle), mask)
        for polygon in annotation.segmentation or []:
            assert (min(polygon[0::2]), min(polygon[1::2])) == pytest.approx(bounds(mask)[:2])
            assert abs(clip.polygon_area(polygon)) == pytest.approx(mask.sum())


@given(box=boxes, orientation=st.integers(1, 8))
def test_orientation_moves_labels_like_pixels(box: tuple[int, int, int, int], orientation: int) -> None:
    turn = Transform.orientation(orientation, (W, H))
    check(turn.apply(labelled(box)), codec.upright(box_mask(box), orientation))


@given(box=boxes, x=st.integers(1, 4), y=st.integers(1, 4))
def test_enlarging_moves_labels_like_pixels(box: tuple[int, int, int, int], x: int, y: int) -> None:
    size = (W * x, H * y)
    check(Transform.resize((W, H), size).apply(labelled(box)), codec.resize(box_mask(box), size, "nearest"))


@settings(deadline=None)
@given(box=boxes, left=st.integers(0, W - 1), top=st.integers(0, H - 1), w=st.integers(1, W), h=st.integers(1, H))
def test_cropping_moves_labels_like_pixels(box: tuple[int, int, int, int], left: int, top: int, w: int, h: int) -> None:
    window = (left, top, min(left + w, W), min(top + h, H))
    moved = Transform.crop((W, H), window).apply(labelled(box))
    mask = box_mask(box)[window[1] : window[3], window[0] : window[2]]
    if mask.any():
        assert len(moved.annotations) == 2
        check(moved, mask)
    else:
        assert moved.annotations == []


@settings(deadline=None)
@given(
    box=boxes,
    orientation=st.integers(1, 8),
    factor=st.integers(1, 3),
    window=st.tuples(*[st.integers(0, 30), st.integers(0, 30), st.integers(1, 30), st.integers(1, 30)]),
)
def test_composition_equals_one_after_the_other(
    box: tuple[int, int, int, int], orientation: int, factor: int, window: tuple[int, int, int, int]
) -> None:
    turn = Transform.orientation(orientation, (W, H))
    grow = Transform.resize(turn.target, (turn.target[0] * factor, turn.target[1] * factor))
    left, top = min(window[0], grow.target[0] - 1), min(window[1], grow.target[1] - 1)
    right, bottom = min(left + window[2], grow.target[0]), min(top + window[3], grow.target[1])
    cut = Transform.crop(grow.target, (left, top, right, bottom))
    once = turn.then(grow).then(cut).apply(labelled(box))
    pixels = codec.resize(codec.upright(box_mask(box), orientation), grow.target, "nearest")[top:bottom, left:right]
    if pixels.any():
        check(once, pixels)
    else:
        assert once.annotations == []
    assert cut.apply(grow.apply(turn.apply(labelled(box)))) == once


@given(
    source=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    target=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    seed=st.integers(0, 99),
)
def test_masks_resize_exactly_like_the_codec(source: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 2, (source[1], source[0]), np.uint8)
    moved = Transform.resize(source, target).mask(mask)
    np.testing.assert_array_equal(moved, codec.resize(mask, target, "nearest"))


def test_the_identity_touches_no_number() -> None:
    odd = 0.1 + 0.2
    annotation = Annotation("x", bbox=(odd, odd / 3, -0.0, 1e-17), segmentation=[[odd] * 6], area=odd)
    labels = Labels(None, None, [annotation], raw="text")
    moved = Transform.resize((W, H), (W, H)).apply(labels)
    assert moved == replace(labels, width=W, height=H)
    assert moved.annotations[0] is annotation


def test_a_resize_drops_nothing_and_cuts_nothing() -> None:
    labels = Labels(W, H, [Annotation("x", bbox=(-5, -5, 100, 100)), Annotation("y", bbox=(200, 0, 0, 0))])
    moved = Transform.resize((W, H), (W // 2, H // 2)).apply(labels)
    assert [annotation.bbox for annotation in moved.annotations] == [(-2.5, -2.5, 50, 50), (100, 0, 0, 0)]


def test_tags_without_a_place_survive_a_crop() -> None:
    labels = Labels(W, H, [Annotation("rain")])
    assert Transform.crop((W, H), (0, 0, 4, 4)).apply(labels).annotations == labels.annotations


def test_keypoints_outside_a_crop_are_no_longer_labelled() -> None:
    """A point at -5 that is said to be visible would be learnt from."""
    points = [5, 5, 2, 30, 20, 1, 0, 0, 0]
    person = Annotation("x", bbox=(0, 0, 40, 30), attributes={"keypoints": points, "num_keypoints": 2})
    alone = Annotation("y", attributes={"keypoints": [1, 1, 2]})
    cut = Transform.crop((W, H), (10, 10, W, H)).apply(Labels(W, H, [person, alone]))
    assert [each.category for each in cut.annotations] == ["x"]
    assert cut.annotations[0].attributes == {"keypoints": [0, 0, 0, 20, 10, 1, 0, 0, 0], "num_keypoints": 1}


def test_keypoints_move_unless_unlabelled() -> None:
    labels = Labels(W, H, [Annotation("x", attributes={"keypoints": [10, 20, 2, 0, 0, 0], "score": 1})])
    moved = Transform.crop((W, H), (5, 5, 40, 30)).apply(labels)
    assert moved.annotations[0].attributes == {"keypoints": [5, 15, 2, 0, 0, 0], "score": 1}


def test_a_mask_of_another_size_is_refused() -> None:
    labels = Labels(W, H, [Annotation("x", rle=rle.encode(np.ones((3, 3), np.uint8)))])
    with pytest.raises(BadSample, match="3x3"):
        Transform.resize((W, H), (2 * W, H)).apply(labels)


def test_crop_windows_lie_within_the_picture() -> None:
    for window in ((0, 0, W + 1, H), (-1, 0, 5, 5), (5, 5, 5, 9)):
        with pytest.raises(ValueError, match="crop window"):
            Transform.crop((W, H), window)
    with pytest.raises(ValueError, match="cannot follow"):
        Transform.crop((W, H), (0, 0, 5, 5)).then(Transform.resize((W, H), (5, 5)))


@settings(deadline=None)
@given(points=st.lists(st.tuples(st.integers(-20, 60), st.integers(-20, 50)), min_size=3, max_size=7))
def test_clipped_polygons_cover_what_the_picture_covers(points: list[tuple[int, int]]) -> None:
    """Compared at 8 times the size by Pillow's own filling, on convex hulls (Pillow fills self-crossings otherwise)."""
    hull = convex(points)
    if len(hull) < 3:
        return
    flat = [float(value) for point in hull for value in point]
    whole = Image.new("1", (80 * 8, 70 * 8))
    ImageDraw.Draw(whole).polygon([((x + 20) * 8, (y + 20) * 8) for x, y in hull], fill=1)
    seen = float(np.asarray(whole)[20 * 8 : (20 + H) * 8, 20 * 8 : (20 + W) * 8].sum()) / 64
    cut = clip.clip_polygon(flat, W, H)
    area = 0.0 if cut is None else abs(clip.polygon_area(cut))
    assert area == pytest.approx(seen, abs=30)
    if cut is not None:
        assert clip.inside(cut, W + 1e-9, H + 1e-9)


def convex(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Convex hull (Andrew's monotone chain)."""

    def half(ordered: list[tuple[int, int]]) -> list[tuple[int, int]]:
        out: list[tuple[int, int]] = []
        for x, y in ordered:
            while len(out) > 1:
                (ax, ay), (bx, by) = out[-2:]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                out.pop()
            out.append((x, y))
        return out[:-1]

    ordered = sorted(set(points))
    return half(ordered) + half(ordered[::-1])


def test_lines_are_cut_into_pieces() -> None:
    zigzag = [-10.0, 5.0, 10.0, 5.0, 10.0, -5.0, 20.0, -5.0, 20.0, 50.0]
    assert clip.clip_line(zigzag, W, H) == [[0.0, 5.0, 10.0, 5.0, 10.0, 0.0], [20.0, 0.0, 20.0, 36.0]]
    assert clip.clip_line([-5.0, -5.0, -1.0, 90.0], W, H) == []
    lane = Annotation("lane", segmentation=[zigzag], attributes={"poly2d": [{"types": "LLLLL", "closed": False}]})
    moved = Transform.crop((W, H), (0, 0, W, H)).apply(Labels(W, H, [lane])).annotations[0]
    assert moved.segmentation == clip.clip_line(zigzag, W, H)
    assert moved.shapes() == [{"types": "LLL", "closed": False}, {"types": "LL", "closed": False}]


def test_curves_are_straightened_only_where_they_are_cut() -> None:
    curve = [0.0, 10.0, 10.0, 0.0, 20.0, 0.0, 30.0, 10.0]
    lane = Annotation("lane", segmentation=[curve], attributes={"poly2d": [{"types": "LCCC", "closed": False}]})
    labels = Labels(W, H, [lane])
    assert Transform.crop((W, H), (0, 0, 40, 20)).apply(labels).annotations == [lane]
    cut = Transform.crop((W, H), (0, 0, 15, 20)).apply(labels).annotations[0]
    assert cut.segmentation is not None
    piece = cut.segmentation[0]
    assert cut.shapes()[0]["types"] == "L" * (len(piece) // 2)
    assert piece[:2] == [0.0, 10.0]
    assert piece[-2:] == pytest.approx([15.0, 2.5])  # the middle of the Bezier curve: 10 (1/8 + 1/8) + 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_of_the_stored_picture_are_turned_along(orientation: int) -> None:
    box = (3, 4, 10, 20)
    stored = box_mask(box)
    moved = align(labelled(box), orientation, (W, H))
    expected = codec.upright(stored, orientation)
    check(moved, expected if orientation >= 5 else stored)  # flips keep the size, so they look like upright ones


def test_labels_of_the_upright_picture_stay() -> None:
    upright = replace(labelled((3, 4, 10, 20)), width=W, height=H)
    assert align(upright, 6, (H, W)).annotations == upright.annotations
    unsaid = replace(upright, width=None, height=None)
    assert align(unsaid, 6, (H, W)) == upright


def test_labels_of_another_size_of_the_same_picture_are_scaled() -> None:
    labels = Labels(1280, 720, [Annotation("car", bbox=(128, 72, 640, 360))])
    assert align(labels, 1, (100, 56)).annotations[0].bbox == pytest.approx((10, 5.6, 50, 28))
    turned = align(labels, 6, (640, 360))
    assert (turned.width, turned.height) == (360, 640)
    assert turned.annotations[0].bbox == pytest.approx((360 - 36 - 180, 64, 180, 320))
    with pytest.raises(BadSample, match="1280x720") as caught:
        align(labels, 1, (100, 80))
    assert caught.value.reason == "bad_labels"
