"""Segmenters behind the interface of detectors: components by hand, and a tiny random model of each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from methods.errors import InputError
from methods.nn.detection.load import load_detector
from methods.nn.detection.names import TORCHVISION, known_as
from methods.nn.detection.segmenters import components
from tests.support.datasets import picture

NAMES = {0: "road", 1: "car", 2: "person"}


def test_boxes_and_scores_of_components() -> None:
    likely = np.full((3, 20, 30), 0.1, np.float32)
    likely[0] = 0.4
    likely[1, 2:8, 3:15] = 0.8
    likely[1, 8:12, 15:20] = 0.5  # touches the corner of the first: one component
    likely[2, 14:19, 22:28] = 0.9
    likely[2, 0:2, 25:30] = 0.9  # too thin
    found = components(likely, NAMES, ("car", "person"))
    assert found.classes == ("person", "car")
    assert found.boxes.tolist() == [[22, 14, 28, 19], [3, 2, 20, 12]]
    assert found.scores == pytest.approx([0.9, (72 * 0.8 + 20 * 0.5) / 92])
    assert len(components(likely, NAMES, ("bus",))) == 0


def test_one_class_under_the_names_of_several_label_sets() -> None:
    coco = ("person", "bicycle", "car", "motorcycle", "train", "traffic light", "couch")
    voc = ("person", "bicycle", "car", "motorbike", "train", "sofa")
    ade = ("person, individual, someone", "car, auto, automobile", "minibike, motorbike", "sky")
    vistas = ("Person", "Bicyclist", "Car", "Traffic Light", "Rider")
    expected = {
        "pedestrian": ("person", "person", ade[0], "Person"),
        "Person_sitting": ("person", "person", ade[0], "Person"),
        "rider": ("person", "person", ade[0], "Rider"),
        "Car": ("car", "car", ade[1], "Car"),
        "motor": ("motorcycle", "motorbike", ade[2], None),
        "traffic_light": ("traffic light", None, None, "Traffic Light"),
        "Tram": ("train", "train", None, None),
        "sofa": ("couch", "sofa", None, None),
        "Van": (None, None, None, None),
        "": (None, None, None, None),
    }
    assert {name: tuple(known_as(name, each) for each in (coco, voc, ade, vistas)) for name in expected} == expected


def semantic(folder: Path) -> Any:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[1, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[3, 3],
        strides=[2, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        id2label=NAMES,
    )
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def instance(folder: Path) -> Any:
    from transformers import (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        Mask2FormerImageProcessor,
        SwinConfig,
    )

    swin = SwinConfig(
        image_size=32,
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
    )
    swin.out_features = ["stage1", "stage2", "stage3", "stage4"]
    config = Mask2FormerConfig(
        backbone_config=swin,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        num_attention_heads=2,
        encoder_layers=1,
        decoder_layers=2,
        num_queries=5,
        id2label=NAMES,
    )
    Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    Mask2FormerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


@pytest.mark.parametrize("make", [semantic, instance])
def test_a_folder_of_transformers(make: Any, tmp_path: Path) -> None:
    torch.manual_seed(3)
    make(tmp_path / "model")
    detector = load_detector(str(tmp_path / "model"), None, "cpu", {"rider": "person"})
    assert detector.classes == ("car", "person")
    pictures = [picture(0, (80, 60)), picture(1, (64, 64))]
    found = detector.detect(pictures, 0.01)
    assert sum(map(len, found)) > 0
    for each, shown in zip(found, pictures, strict=True):
        assert set(each.classes) <= {"car", "person"}
        assert list(each.scores) == sorted(each.scores, reverse=True)
        if len(each):
            assert (each.boxes[:, 2:] > each.boxes[:, :2]).all()
            assert (each.boxes[:, 2:] <= [shown.shape[1], shown.shape[0]]).all()
    (alone,) = detector.detect(pictures[1:], 0.01)
    assert np.array_equal(alone.boxes, found[1].boxes)
    with pytest.raises(InputError, match="the detector knows no 'road'") as error:
        load_detector(str(tmp_path / "model"), None, "cpu", {"street": "road"})
    assert "\n" not in str(error.value)


def test_torchvision_s_segmenters(tmp_path: Path) -> None:
    from torchvision.models import get_model

    torch.manual_seed(0)
    name = "lraspp_mobilenet_v3_large"
    torch.save(get_model(name, weights=None, weights_backbone=None).state_dict(), tmp_path / "lraspp.pth")
    detector = load_detector(str(tmp_path / "lraspp.pth"), name, "cpu", {})
    assert "motorbike" in detector.classes
    assert "__background__" not in detector.classes
    assert known_as("motorcycle", detector.classes) == "motorbike"
    (found,) = detector.detect([picture(0, (48, 64))], 0.0)
    assert set(found.classes) <= set(detector.classes)
    with pytest.raises(InputError, match="not torchvision's deeplabv3_mobilenet_v3_large") as error:
        load_detector(str(tmp_path / "lraspp.pth"), "deeplabv3_mobilenet_v3_large", "cpu", {})
    assert "\n" not in str(error.value)


def test_released_weights_are_torchvision_s_own() -> None:
    from torchvision.models import get_model_weights

    for name, uri in TORCHVISION.items():
        assert uri in [each.url for each in get_model_weights(name)]
