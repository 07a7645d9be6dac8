"""COCO panoptic annotations: a PNG of segment ids and a JSON that says what each segment is."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import numpy as np

from methods.counting import counted
from methods.errors import BadSample, InputError
from methods.piti.conditions.tables import PANOPTIC_CATEGORIES, UNLABELLED


class PanopticIndex:
    """The segments of every picture of a panoptic JSON, by file stem."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            InputError: it is no panoptic JSON; file, found and expected are named.
        """
        try:
            tree = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not readable as JSON ({type(error).__name__}), expected COCO panoptic") from None
        try:
            self._segments = {
                PurePosixPath(annotation["file_name"]).stem: {
                    int(segment["id"]): int(segment["category_id"]) for segment in annotation["segments_info"]
                }
                for annotation in tree["annotations"]
            }
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: found no COCO panoptic annotations ({type(error).__name__}: {error}), expected "
                "annotations[].file_name and annotations[].segments_info[].id and .category_id"
            ) from None
        self.path = path

    def __len__(self) -> int:
        return len(self._segments)

    def to_coco_stuff(self, key: str, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 panoptic PNG -> (H, W) uint8 COCO-Stuff ids. A sample belongs to the file of its name.

        Raises:
            BadSample: ``not_a_label_map``, ``no_segments`` (the JSON lacks this picture), ``unknown_label`` (segment
                ids that the JSON lacks for this picture, or categories that COCO does not have).
        """
        if pixels.ndim != 3:
            raise BadSample("not_a_label_map", "found one channel, expected a COCO panoptic PNG (id = R + 256 G + ...)")
        stem = PurePosixPath(key).name
        segments = self._segments.get(stem, self._segments.get(PurePosixPath(key).stem))
        if segments is None:
            raise BadSample("no_segments", f"{self.path.name} has no annotation with the file name '{stem}.png'")
        wide = pixels.astype(np.uint32)
        ids, places = np.unique(wide[..., 0] | wide[..., 1] << 8 | wide[..., 2] << 16, return_inverse=True)
        # 0 is COCO's "void"
        unknown = [number for number in ids.tolist() if number and number not in segments]
        if unknown:
            raise BadSample(
                "unknown_label",
                f"{len(unknown)} of {len(ids)} segment ids are not in {self.path.name}, the first is {unknown[0]}",
            )
        strange = sorted({c for n in ids.tolist() if n and (c := segments[n]) not in PANOPTIC_CATEGORIES})
        if strange:
            raise BadSample(
                "unknown_label", f"{counted(len(strange), 'category', 'is/are')} not COCO's, the first is {strange[0]}"
            )
        classes = [PANOPTIC_CATEGORIES[segments[number]] if number else UNLABELLED for number in ids.tolist()]
        return np.array(classes, np.uint8)[places.reshape(pixels.shape[:2])]
