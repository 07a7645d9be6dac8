"""Conditions: equal to the official preparation, and one clear line for what they cannot be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from safetensors.numpy import load_file

from methods.base import Inputs
from methods.errors import BadSample, InputError
from methods.nn.image_prep import to_tensor
from methods.notices import NoticeCounter
from methods.piti.condition import ConditionReader
from methods.piti.conditions.ade20k import ADE20K_IDS, COCO_STUFF_NUMBERS
from methods.piti.conditions.geometry import depth_colours
from methods.piti.conditions.label_maps import colour_mask, palette, to_coco_stuff
from methods.piti.conditions.lines import canny_lines, check_sketch, distance_map, grey, sketch_lines
from methods.piti.conditions.panoptic import PanopticIndex
from methods.piti.conditions.squash import squash_nearest
from methods.piti.conditions.tables import (
    CITYSCAPES_IDS,
    COCO_STUFF_IDS,
    PANOPTIC_CATEGORIES,
    TRAIN_IDS,
    UNLABELLED,
)
from methods.piti.params import PITIParams

from .conftest import GOLDEN

MASK, SKETCH = GOLDEN / "preprocess_mask", GOLDEN / "preprocess_sketch"
SKETCHES = json.loads((SKETCH / "case.json").read_text())["images"]


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_label_maps_become_the_official_condition() -> None:
    about, expected = json.loads((MASK / "case.json").read_text()), load_file(MASK / "expected.safetensors")
    np.testing.assert_array_equal(palette()[:182], expected["palette_182"])
    ids = to_coco_stuff(read(MASK / "raw_mask.png"), COCO_STUFF_IDS, "coco_stuff")
    np.testing.assert_array_equal(palette()[ids], read(MASK / "expected_colour.png"))
    squashed = palette()[squash_nearest(ids)]
    np.testing.assert_array_equal(squashed, read(MASK / "expected_ref_u8.png"))
    tensor = to_tensor(squashed).numpy()
    assert sha256(tensor) == about["tensor_float_sha256"]
    np.testing.assert_array_equal(tensor[:, 100:108, 100:108], expected["ref_crop_100_108"])
    levels = to_tensor(np.arange(256, dtype=np.uint8)[None]).numpy().ravel()
    np.testing.assert_array_equal(levels, expected["lut_u8_to_float"])


@pytest.mark.parametrize("name", SKETCHES)
def test_sketches_become_the_official_distance_maps(name: str) -> None:
    picture = np.array(Image.open(SKETCH / f"{name}.png").convert("RGB"))
    distance = distance_map(squash_nearest(grey(picture)))
    np.testing.assert_array_equal(distance, read(SKETCH / f"{name}_expected_distance_u8.png"))
    assert sha256(to_tensor(distance).numpy()) == SKETCHES[name]["float_sha256"]


@given(arrays(np.uint8, (256, 256), elements=st.sampled_from([0, 254, 255]), fill=st.just(0)))
def test_distance_is_the_city_block_distance(lines: np.ndarray) -> None:
    rows, columns = np.nonzero(lines == 255)
    found = distance_map(lines)
    if not len(rows):
        assert (found == 255).all()
        return
    for row, column in ((0, 0), (255, 0), (100, 17)):
        assert found[row, column] == min(255, (abs(rows - row) + abs(columns - column)).min())


def test_tables_lead_to_classes_that_exist() -> None:
    assert list(TRAIN_IDS) == [*range(19), 255]
    assert sorted(CITYSCAPES_IDS) == [*range(34), 255]
    assert set(PANOPTIC_CATEGORIES) >= {*range(1, 91), *range(92, 183), *range(184, 201)}
    for table in (TRAIN_IDS, CITYSCAPES_IDS, PANOPTIC_CATEGORIES, COCO_STUFF_IDS):
        assert all(0 <= number < 182 or number == UNLABELLED for number in table.values())
    # COCO-Stuff numbers of road, sky-other, tree and car, counted from 0
    assert [TRAIN_IDS[train] for train in (0, 10, 8, 13)] == [148, 156, 168, 2]
    assert CITYSCAPES_IDS[7] == 148
    assert PANOPTIC_CATEGORIES[187] == 156


def test_ade20k_classes_become_those_of_coco_stuff() -> None:
    assert list(ADE20K_IDS) == [*range(151)]
    assert [COCO_STUFF_NUMBERS[name] for name in ("person", "hair_brush", "banner", "wood")] == [0, 90, 91, 181]
    # the numbers that the other tables use
    names = ("bridge", "building-other", "cabinet", "sky-other", "road", "structural-other", "tree", "wall-concrete")
    assert [COCO_STUFF_NUMBERS[name] for name in names] == [94, 95, 97, 156, 148, 163, 168, 171]
    assert len(COCO_STUFF_NUMBERS) == 182
    found = {number: ADE20K_IDS[number] for number in (0, 1, 3, 13, 21, 70, 84, 128, 137, 149)}
    wanted = ("wall-other", "sky-other", "person", "car", "bench", "truck", "bicycle", "traffic_light", "clock")
    assert list(found.values()) == [UNLABELLED, *(COCO_STUFF_NUMBERS[name] for name in wanted)]
    reader = ConditionReader(PITIParams(condition="ade20k"))
    ids = np.array([[0, 3], [13, 150]], np.uint8)
    picture = reader.render(Inputs("k", np.zeros((2, 2, 3), np.uint8), stored=ids))
    np.testing.assert_array_equal(picture[0, 1], palette()[156])
    with pytest.raises(BadSample, match="not in the table of ade20k"):
        reader.render(Inputs("k", np.zeros((2, 2, 3), np.uint8), stored=ids + 10))


def test_every_class_has_a_colour_of_its_own() -> None:
    assert len(np.unique(palette()[:182], axis=0)) == 182
    assert not palette()[182:].any()


@pytest.mark.parametrize("shape", [(300, 20), (20, 300), (256, 256)])
def test_id_182_is_black_as_in_the_release_and_counted(shape: tuple[int, int]) -> None:
    """The release's colouring loop, in its own words: palette[id] for ids below 182, black for all others."""
    ids = np.random.default_rng(1).choice(np.array([0, 50, 181, 182, 255], np.uint8), shape)
    reader = ConditionReader(PITIParams(condition="coco_stuff"))
    colours = np.zeros((*shape, 3), np.uint8)
    for number in range(182):
        colours[ids == number] = palette()[number]
    inputs = Inputs("k", colours, stored=ids)
    with NoticeCounter() as counter:
        np.testing.assert_array_equal(reader.render(inputs), colours)
        assert counter.take() == {}
        tensor = reader.tensor(inputs)
        found = counter.take()
    squashed = np.array(Image.fromarray(colours).resize((256, 256), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(tensor.numpy(), to_tensor(squashed).numpy())
    assert list(found) == ["other_is_black"]
    black = (ids == 182).sum()
    assert (
        found["other_is_black"].example
        == f"{black} of {ids.size} pixels have id 182 (other): black, as unlabelled ones"
    )


def test_ids_outside_the_table_are_counted_and_the_first_named() -> None:
    ids = np.zeros((4, 5), np.uint8)
    ids[0, :3], ids[2, 2] = 190, 200
    with pytest.raises(BadSample, match=r"2 ids on 4 of 20 pixels are not in the table of coco_stuff .* first is 190"):
        to_coco_stuff(ids, COCO_STUFF_IDS, "coco_stuff")
    with pytest.raises(BadSample, match="first is 3000") as caught:
        to_coco_stuff(np.full((2, 2), 3000, np.uint16), TRAIN_IDS, "bdd100k")
    assert caught.value.reason == "unknown_label"


@given(arrays(np.uint16, (3, 4), elements=st.integers(0, 400)))
def test_a_label_map_is_mapped_or_refused(ids: np.ndarray) -> None:
    if set(np.unique(ids)) <= set(CITYSCAPES_IDS):
        mapped = to_coco_stuff(ids, CITYSCAPES_IDS, "cityscapes")
        assert mapped.dtype == np.uint8
        assert mapped.tolist() == [[CITYSCAPES_IDS[number] for number in row] for row in ids.tolist()]
    else:
        with pytest.raises(BadSample):
            to_coco_stuff(ids, CITYSCAPES_IDS, "cityscapes")


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def test_a_photo_is_no_label_map_mask_or_sketch() -> None:
    with pytest.raises(BadSample, match=r"found a colour picture with .* colours, expected a map of coco_stuff ids"):
        to_coco_stuff(photo(), COCO_STUFF_IDS, "coco_stuff")
    with pytest.raises(BadSample, match="expected a colour mask with at most 256"):
        colour_mask(photo())
    with pytest.raises(BadSample, match="neither black nor white") as caught:
        sketch_lines(photo())
    assert caught.value.reason == "not_a_sketch"
    mask = palette()[np.arange(12).reshape(3, 4)]
    assert colour_mask(mask) is mask


def test_sketches_the_wrong_way_round_or_blank() -> None:
    lines = np.zeros((30, 30), np.uint8)
    with pytest.raises(BadSample, match="no pixel is 255"):
        check_sketch(lines)
    lines[10] = 255
    assert check_sketch(lines) is lines
    with pytest.raises(BadSample, match="97% of the pixels are white, expected white lines on black"):
        check_sketch(255 - lines)


def test_canny_draws_the_outline() -> None:
    picture = np.zeros((300, 200, 3), np.uint8)
    picture[100:200, 50:150] = 200
    lines = canny_lines(picture, 100, 200)
    assert lines.shape == (256, 256)
    assert set(np.unique(lines)) == {0, 255}
    assert lines[80:90, 100].max() == 255
    assert not lines[128, 100]


def panoptic(tmp_path: Path, annotations: object) -> Path:
    path = tmp_path / "panoptic.json"
    path.write_text(json.dumps({"annotations": annotations}))
    return path


def test_panoptic_segments_become_classes(tmp_path: Path) -> None:
    segments = [{"id": 70_000, "category_id": 3}, {"id": 5, "category_id": 187}]
    index = PanopticIndex(panoptic(tmp_path, [{"file_name": "000042.png", "segments_info": segments}]))
    assert len(index) == 1
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 0] = (70_000 & 255, 70_000 >> 8 & 255, 70_000 >> 16)
    pixels[0, 1] = (5, 0, 0)
    assert index.to_coco_stuff("val/000042", pixels).tolist() == [[2, 156], [255, 255]]
    pixels[1, 1] = (9, 0, 0)
    with pytest.raises(BadSample, match=r"1 of 4 segment ids are not in panoptic.json, the first is 9"):
        index.to_coco_stuff("000042", pixels)
    with pytest.raises(BadSample, match=r"no annotation with the file name '7.png'"):
        index.to_coco_stuff("7", pixels)
    with pytest.raises(BadSample, match="found one channel"):
        index.to_coco_stuff("000042", pixels[..., 0])


def test_panoptic_categories_that_coco_does_not_have(tmp_path: Path) -> None:
    annotation = {"file_name": "a.png", "segments_info": [{"id": 1, "category_id": 900}]}
    index = PanopticIndex(panoptic(tmp_path, [annotation]))
    with pytest.raises(BadSample, match="1 category is not COCO's, the first is 900"):
        index.to_coco_stuff("a", np.ones((1, 1, 3), np.uint8) * [1, 0, 0])


@pytest.mark.parametrize("content", ["{", "[]", '{"images": []}', '{"annotations": [{"file_name": "a.png"}]}'])
def test_a_json_that_is_not_panoptic(tmp_path: Path, content: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"wrong\.json: .* expected") as caught:
        PanopticIndex(path)
    assert "\n" not in str(caught.value)


def test_depth_is_the_logarithm_of_metres_in_jet() -> None:
    depth = np.zeros((10, 10), np.uint16)
    depth[:5] = np.linspace(500, 20_000, 50).reshape(5, 10)
    colours = depth_colours(depth, 0.001)
    assert not colours[5:].any()
    assert colours[0, 0].tolist() == [0, 0, 127]
    assert colours[4, 9, 0] > colours[4, 9, 2]
    np.testing.assert_array_equal(colours, depth_colours(depth * 2, 0.0005))
    with pytest.raises(BadSample, match="found a colour picture"):
        depth_colours(photo(), 0.001)
    with pytest.raises(BadSample, match="no pixel has a depth"):
        depth_colours(np.zeros((3, 3), np.uint16), 0.001)
