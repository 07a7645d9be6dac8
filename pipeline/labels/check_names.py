"""Where in the labels of an output stands what was measured of them, and the flag that may follow from it."""

from __future__ import annotations

from dataclasses import replace

from pipeline.labels.records import Labels

MEASURED = "sceneshift"
"""The attribute of an annotation under which stands what was measured of it."""

INVENTED = "sceneshift.invented"
"""The attribute of a picture's labels with the objects that a detector found in the output alone, as JSON:
``[class, score, [x, y, width, height]]`` each."""

UNCOMPARED = "sceneshift.uncompared"
"""The attribute of a picture's labels with the number of such objects of each class that the labels cannot have, as
JSON."""


MEASURED_OF_ALL = frozenset([INVENTED, UNCOMPARED])
"""Attributes of a picture's labels that were measured, and that no source has."""


def with_lost_ignored(labels: Labels) -> Labels:
    """The labels with ``ignore: 1`` for every annotation that was found in the source and is not in the output."""
    return replace(
        labels,
        annotations=[
            replace(each, attributes=each.attributes | {"ignore": 1})
            if (each.attributes.get(MEASURED) or {}).get("held") is False
            else each
            for each in labels.annotations
        ],
    )
