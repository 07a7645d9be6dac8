"""What counts as held, lost and invented, and the table by class."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.nn.detection.base import Detections
from pipeline.labels.arrow import to_arrow_value
from pipeline.labels.check import CheckRules, agreement, overlap
from pipeline.labels.check_table import SurvivalTable, wilson
from pipeline.labels.records import Annotation, Labels

RULES = CheckRules(0.5, 0.3, 8.0, ("car", "person"), {"pedestrian": "person"})
NOTHING = Detections(np.zeros((0, 4)), np.zeros(0), ())


def found(*entries: tuple[str, float, tuple[float, float, float, float]]) -> Detections:
    """Detections of (class, score, (x, y, width, height))."""
    boxes = [(x, y, x + w, y + h) for _, _, (x, y, w, h) in entries]
    return Detections(
        np.array(boxes, float).reshape(-1, 4),
        np.array([score for _, score, _ in entries]),
        tuple(e[0] for e in entries),
    )


def labels(*entries: tuple[str, tuple[float, float, float, float] | None], crowd: bool = False) -> Labels:
    return Labels(100, 100, [Annotation(name, bbox=box, iscrowd=crowd) for name, box in entries])


CAR, WALKER = ("car", (10.0, 10.0, 20.0, 20.0)), ("pedestrian", (60.0, 10.0, 10.0, 30.0))
SEEN = found(("car", 0.9, (11, 10, 20, 20)), ("person", 0.6, (60, 11, 10, 30)))


def test_an_unchanged_picture_holds_everything_and_invents_nothing() -> None:
    said = agreement(labels(CAR, WALKER), SEEN, SEEN, RULES)
    assert (said.checked, said.found_before, said.held, said.invented) == (2, 2, 2, [])
    assert all(each["found_after"] and each["class_kept"] for each in said.annotations)
    assert said.annotations[0]["iou"] == pytest.approx(19 * 20 / (2 * 400 - 380), abs=1e-4)


def test_what_is_gone_is_lost_and_what_was_never_seen_cannot_be() -> None:
    unseen = ("car", (80.0, 80.0, 15.0, 15.0))
    said = agreement(labels(CAR, WALKER, unseen), SEEN, found(("person", 0.6, (60, 11, 10, 30))), RULES)
    assert [each.get("held") for each in said.annotations] == [False, True, None]
    assert said.annotations[2] == {"found_before": False, "found_after": False}


def test_another_class_in_its_place_is_no_survival() -> None:
    said = agreement(labels(CAR), SEEN, found(("person", 0.9, (10, 10, 20, 20))), RULES)
    (entry,) = said.annotations
    assert entry["found_after"]
    assert not entry["class_kept"]
    assert not entry["held"]
    assert said.invented == []


def test_new_objects_are_invented_unless_they_are_labelled_or_were_half_seen() -> None:
    new = ("car", 0.8, (70.0, 60.0, 20.0, 20.0))
    assert agreement(labels(CAR), SEEN, found(new), RULES).invented == [("car", 0.8, (70.0, 60.0, 20.0, 20.0))]
    assert agreement(labels(CAR, ("boat", new[2])), SEEN, found(new), RULES).invented == []
    for score, invented in ((0.16, True), (0.29, True), (0.3, False), (0.9, False)):
        before = found(("car", score, (71, 60, 20, 20)))
        assert bool(agreement(labels(CAR), before, found(new), RULES).invented) == invented
    faint, weak = found(("car", 0.16, (71, 60, 20, 20))), ("car", 0.32, new[2])
    assert agreement(labels(CAR), faint, found(weak), RULES).invented == []
    assert agreement(None, NOTHING, found(new), RULES).invented[0][0] == "car"
    assert agreement(labels(("car", (60.0, 50.0, 40.0, 40.0)), crowd=True), NOTHING, found(new), RULES).invented == []


def test_only_classes_that_both_sides_name_are_compared() -> None:
    detector = ("car", "person", "umbrella")
    rules = replace(RULES, classes=detector, names={}, named=("car", "pedestrian", "boat"))
    assert rules.comparable() == {"car", "person"}
    new = found(("car", 0.8, (70, 60, 20, 20)), ("umbrella", 0.9, (10, 60, 20, 20)), ("umbrella", 0.9, (40, 60, 9, 9)))
    said = agreement(labels(CAR, WALKER), SEEN, new, rules)
    assert [name for name, *_ in said.invented] == ["car"]
    assert said.uncompared == {"umbrella": 2}
    assert said.checked == 2
    every = agreement(labels(CAR), SEEN, new, replace(rules, named=None))
    assert [name for name, *_ in every.invented] == ["car", "umbrella", "umbrella"]
    wanted = replace(rules, wanted=("pedestrian",))
    said = agreement(labels(CAR, WALKER), SEEN, new, wanted)
    assert said.annotations[0] == {"unchecked": "left out"}
    assert (said.checked, said.found_before, said.held) == (1, 1, 0)
    assert said.invented == []
    assert said.uncompared == {"car": 1, "umbrella": 2}


def test_what_cannot_be_checked_says_why() -> None:
    said = agreement(
        labels(("boat", (0.0, 0.0, 20.0, 20.0)), ("car", (0.0, 0.0, 20.0, 7.0)), ("car", None)), SEEN, SEEN, RULES
    )
    assert said.annotations == [{"unchecked": "class"}, {"unchecked": "small"}, {}]
    assert said.checked == 0
    assert agreement(labels(CAR, crowd=True), SEEN, SEEN, RULES).annotations == [{"unchecked": "crowd"}]


def test_one_detection_stands_for_one_box() -> None:
    twice = labels(("car", (10.0, 10.0, 20.0, 20.0)), ("car", (12.0, 10.0, 20.0, 20.0)))
    said = agreement(twice, found(("car", 0.9, (10, 10, 20, 20))), NOTHING, RULES)
    assert [each["found_before"] for each in said.annotations] == [True, False]


box = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(8, 40), st.integers(8, 40))
objects = st.lists(st.tuples(st.sampled_from(["car", "person"]), st.floats(0.15, 1), box), max_size=6)


@given(st.lists(st.tuples(st.sampled_from(["car", "pedestrian", "boat"]), box), max_size=6), objects, objects)
def test_whatever_is_found_the_counts_fit_together(named: list, before: list, after: list) -> None:
    own = labels(*[(name, (float(x), float(y), float(w), float(h))) for name, (x, y, w, h) in named])
    one, other = found(*before), found(*after)
    said = agreement(own, one, other, RULES)
    assert said.held <= said.found_before <= said.checked <= len(named) == len(said.annotations)
    same = agreement(own, one, one, RULES)
    assert same.held == same.found_before
    assert same.invented == []


def test_overlap() -> None:
    a = np.array([[0.0, 0, 10, 10], [0, 0, 0, 0]])
    b = np.array([[5.0, 0, 15, 10], [0, 0, 10, 10]])
    assert overlap(a, b).tolist() == [[pytest.approx(1 / 3), 1.0], [0.0, 0.0]]
    assert overlap(a[:1], b, of_first=True).tolist() == [[0.5, 1.0]]


def test_the_table_adds_up_in_any_order_and_has_intervals() -> None:
    cells = []
    for held in (True, True, False):
        annotation = Annotation("car", bbox=(0, 0, 9, 9), attributes={"sceneshift": entry(held)})
        small = Annotation("car", bbox=(0, 0, 2, 2), attributes={"sceneshift": {"unchecked": "small"}})
        plain = Annotation("tree", bbox=(0, 0, 9, 9))
        attributes = {} if held else {"sceneshift.invented": json.dumps([["person", 0.5, [0, 0, 9, 9]]])}
        cells.append(to_arrow_value(Labels(20, 20, [annotation, small, plain], attributes)))
    table, reverse = SurvivalTable(), SurvivalTable()
    table.add([*cells, None])
    for cell in reversed(cells):
        reverse.add([cell])
    tree = table.as_tree()
    assert tree == reverse.as_tree()
    car = tree["classes"].pop("car")
    assert tree["classes"] == {}
    assert {name: car[name] for name in ("boxes", "checked", "found_before", "held", "lost", "class_changed")} == {
        "boxes": 6,
        "checked": 3,
        "found_before": 3,
        "held": 2,
        "lost": 1,
        "class_changed": 0,
    }
    assert car["unchecked"] == {"small": 3}
    assert car["survival"] == pytest.approx(2 / 3)
    assert car["ci95"] == list(wilson(2, 3))
    assert tree["invented"] == {"person": 1}
    assert SurvivalTable().as_tree()["all"]["survival"] is None


def entry(held: bool) -> dict[str, object]:
    return {"found_before": True, "found_after": held, "held": held}


def test_wilson_is_that_of_the_textbook() -> None:
    # Agresti and Coull 1998: 0 of 10, and 15 of 20
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(15, 20) == pytest.approx((0.5313, 0.8881), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
