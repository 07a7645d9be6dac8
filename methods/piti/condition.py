"""From a sample to the condition tensor that a model of its kind was trained on."""

from __future__ import annotations

import numpy as np
import torch

from methods import weights as store
from methods.base import Inputs
from methods.errors import BadSample, InputError
from methods.nn.image_prep import to_tensor
from methods.notices import notice
from methods.piti.conditions import tables
from methods.piti.conditions.ade20k import ADE20K_IDS
from methods.piti.conditions.geometry import depth_colours
from methods.piti.conditions.hed import HED, load_hed
from methods.piti.conditions.label_maps import colour_mask, palette, to_coco_stuff
from methods.piti.conditions.lines import canny_lines, distance_map, sketch_lines
from methods.piti.conditions.panoptic import PanopticIndex
from methods.piti.conditions.squash import squash_nearest
from methods.piti.params import PITIParams

_TABLES = {
    "coco_stuff": tables.COCO_STUFF_IDS,
    "cityscapes": tables.CITYSCAPES_IDS,
    "bdd100k": tables.TRAIN_IDS,
    "ade20k": ADE20K_IDS,
}


class ConditionReader:
    """Turns samples into conditions of one kind.

    Args:
        params: which kind, and how.
        panoptic: the JSON's segments, for ``panoptic``.
        hed: the edge detector, for ``hed``.
    """

    def __init__(self, params: PITIParams, panoptic: PanopticIndex | None = None, hed: HED | None = None) -> None:
        self.params, self.panoptic, self.hed = params, panoptic, hed

    @classmethod
    def build(cls, params: PITIParams) -> ConditionReader:
        """With what the kind of condition needs.

        Raises:
            InputError: no JSON for panoptic conditions, no edge detector for ``hed``.
        """
        panoptic = None
        if params.condition == "panoptic":
            if params.panoptic_json is None:
                raise InputError("piti: condition panoptic needs the parameter panoptic_json")
            panoptic = PanopticIndex(store.fetch(params.panoptic_json))
        return cls(params, panoptic, load_hed() if params.condition == "hed" else None)

    def tensor(self, inputs: Inputs) -> torch.Tensor:
        """(C, 256, 256) float32 in [-1, 1].

        Raises:
            BadSample: the sample is not what ``params.condition`` says.
        """
        kind = self.params.condition
        if kind == "sketch":
            return to_tensor(distance_map(sketch_lines(_picture(inputs))))
        if kind == "canny":
            return to_tensor(distance_map(canny_lines(_picture(inputs), *self.params.canny_thresholds)))
        if kind == "hed":
            assert self.hed is not None
            return to_tensor(distance_map(self.hed.lines(_picture(inputs))))
        if kind in ("colour", "normals", "depth"):
            return to_tensor(squash_nearest(self.render(inputs)))
        if kind == "depth_normals":
            planes = [squash_nearest(self._normals(inputs)), squash_nearest(self.render(inputs))]
            return to_tensor(np.concatenate(planes, axis=2))
        classes = self._classes(inputs)
        if kind == "coco_stuff" and self.params.labels is None:
            black = int((_stored(inputs) == tables.COCO_STUFF_OTHER).sum())
            if black:
                notice(
                    "other_is_black", f"{black} of {classes.size} pixels have id 182 (other): black, as unlabelled ones"
                )
        return to_tensor(palette()[squash_nearest(classes)])

    def render(self, inputs: Inputs) -> np.ndarray:
        """(H, W, 3) uint8: the condition in colours, at its own size. Raises BadSample as :meth:`tensor`."""
        kind = self.params.condition
        if kind in ("sketch", "canny", "hed", "normals"):
            return _picture(inputs)
        if kind == "colour":
            return colour_mask(_picture(inputs))
        if kind in ("depth", "depth_normals"):
            return depth_colours(_stored(inputs), self.params.depth_scale)
        return palette()[self._classes(inputs)]

    def _classes(self, inputs: Inputs) -> np.ndarray:
        kind = self.params.condition
        if kind == "panoptic":
            assert self.panoptic is not None
            return self.panoptic.to_coco_stuff(inputs.key, _stored(inputs))
        table = self.params.labels if self.params.labels is not None else _TABLES[kind]
        return to_coco_stuff(_stored(inputs), table, kind)

    def _normals(self, inputs: Inputs) -> np.ndarray:
        found = inputs.columns.get(self.params.normals)
        if not isinstance(found, np.ndarray) or found.ndim != 3:
            what = "nothing" if found is None else "one channel"
            raise BadSample(
                "no_normals", f"found {what} as '{self.params.normals}', expected a colour picture in source.masks"
            )
        return found


def _picture(inputs: Inputs) -> np.ndarray:
    if inputs.image is None:
        raise BadSample("no_image", "piti needs a picture of the condition")
    return inputs.image


def _stored(inputs: Inputs) -> np.ndarray:
    if inputs.stored is None:
        raise BadSample("no_image", "piti needs the numbers that the condition's picture holds")
    return inputs.stored
