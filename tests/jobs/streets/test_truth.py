"""Truth agrees with the pixels."""

import numpy as np
import pytest

from jobs.streets import CONDITIONS, Frame, Scene
from jobs.streets.annotations import bdd100k_frame, coco_annotations, coco_categories
from jobs.streets.captions import caption
from jobs.streets.taxonomy import CATEGORIES, PALETTE, Label
from jobs.streets.truth import Truth, truth_of

SEEDS = (3, 22, 41, 54, 117)


@pytest.fixture(scope="module")
def truths() -> list[tuple[Frame, Truth]]:
    frames = [Frame(Scene(seed), 120, 80) for seed in SEEDS]
    return [(frame, truth_of(frame)) for frame in frames]


def test_maps(truths: list[tuple[Frame, Truth]]) -> None:
    for _, truth in truths:
        for field in (truth.label, truth.instance, truth.depth, truth.edges):
            assert field.shape == (80, 120)
        assert truth.label.max() < len(PALETTE)
        sky = truth.label == Label.SKY
        assert (truth.depth[~sky] > 0).all()
        assert (truth.depth[sky] == 0).all()
        assert 0.01 < (truth.edges < 128).mean() < 0.5
        assert truth.depth[-1].mean() < truth.depth[55].mean()


def test_instances_have_their_class(truths: list[tuple[Frame, Truth]]) -> None:
    for frame, truth in truths:
        labels = {instance.number: instance.label for instance in frame.scene.instances}
        assert set(labels.values()) <= set(CATEGORIES)
        for number in np.unique(truth.instance[truth.instance > 0]):
            assert set(np.unique(truth.label[truth.instance == number])) == {int(labels[int(number)])}
        countable = np.isin(truth.label, [int(label) for label in CATEGORIES])
        assert (countable == (truth.instance > 0)).all()


def test_boxes_enclose_their_pixels(truths: list[tuple[Frame, Truth]]) -> None:
    boxes = 0
    for frame, truth in truths:
        for thing in truth.things:
            rows, columns = np.nonzero(truth.instance == thing.instance.number)
            x1, y1, x2, y2 = thing.box
            assert 0 <= x1 < x2 <= frame.width
            assert 0 <= y1 < y2 <= frame.height
            if len(rows):
                assert x1 <= columns.min() + 0.5
                assert columns.max() + 0.5 <= x2
                assert y1 <= rows.min() + 0.5
                assert rows.max() + 0.5 <= y2
                assert abs(columns.min() - x1) <= 2 or thing.area < 40
            assert thing.area == pytest.approx(len(rows), rel=0.35, abs=8)
            assert thing.area <= (x2 - x1) * (y2 - y1)
            assert 0 < thing.visibility <= 1
            touches = x1 <= 0 or y1 <= 0 or x2 >= frame.width or y2 >= frame.height
            assert thing.truncated == touches
            boxes += 1
    assert boxes > 25


def test_riders_sit_on_something(truths: list[tuple[Frame, Truth]]) -> None:
    seen = {thing.instance.label for _, truth in truths for thing in truth.things}
    assert {Label.RIDER, Label.BICYCLE, Label.MOTORCYCLE, Label.PERSON, Label.CAR, Label.BUS, Label.TRUCK} <= seen
    _, truth = truths[SEEDS.index(54)]
    rider = next(thing for thing in truth.things if thing.instance.label == Label.RIDER)
    motorcycle = next(thing for thing in truth.things if thing.instance.label == Label.MOTORCYCLE)
    assert rider.box[1] < motorcycle.box[1]
    assert rider.box[0] < motorcycle.box[2]
    assert motorcycle.box[0] < rider.box[2]


def test_label_formats_agree(truths: list[tuple[Frame, Truth]]) -> None:
    categories = {category["id"]: category["name"] for category in coco_categories()}
    for frame, truth in truths:
        bdd = bdd100k_frame(frame.scene, truth, CONDITIONS["night-rain"], "a.jpg", (120, 80))
        coco = coco_annotations(truth.things, 7, 100)
        assert bdd["attributes"]["timeofday"] == "night"
        assert bdd["attributes"]["weather"] == "rainy"
        assert len(bdd["labels"]) == len(coco) == len(truth.things)
        for number, (label, annotation) in enumerate(zip(bdd["labels"], coco, strict=True)):
            assert label["category"] == categories[annotation["category_id"]]
            x, y, width, height = annotation["bbox"]
            assert label["box2d"] == {"x1": x, "y1": y, "x2": x + width, "y2": y + height}
            assert annotation["id"] == 100 + number
            assert annotation["image_id"] == 7
            assert (label["category"] == "traffic light") == (label["attributes"]["trafficLightColor"] != "NA")


def test_captions_tell_time_and_weather(truths: list[tuple[Frame, Truth]]) -> None:
    frame, truth = truths[0]
    texts = {name: caption(frame.scene, truth, condition) for name, condition in CONDITIONS.items()}
    assert len(set(texts.values())) == len(CONDITIONS)
    assert texts["night-snow"].endswith("at night in the snow")
    assert texts["day"].endswith("in the day")
