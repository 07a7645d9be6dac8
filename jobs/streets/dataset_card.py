"""The README of a written dataset."""

from typing import Any

GENERATOR = "sceneshift streets 1"
"""Name and version of the renderer; the version grows whenever the same seed would give another picture."""

_FRONT_MATTER = """---
pretty_name: Procedural street scenes
tags: [synthetic, driving, image-to-image]
configs:
{configs}
---
"""

_LAYOUTS = {
    "webdataset": "`<condition>/<condition>-NNNNNN.tar`, one sample per key, members named by the suffixes below.",
    "parquet": "`<condition>/<condition>-NNNNNN.parquet`, one sample per row; the columns are named in brackets below.",
    "folder": "`<condition>/images/<key>.<suffix>`, with the suffixes below.",
}

_MEMBERS = """| suffix | column | what it is |
| --- | --- | --- |
| `.{suffix}` | `image` | the picture |
| `.txt` | `caption` | one sentence with time and weather |
| `.json` | `labels` | boxes, one BDD100K frame |
| `.seg.png` | `seg` | Cityscapes train ids, 8 bit (sky is 10, every pixel has a class) |
| `.instance.png` | `instance` | number of the countable thing, 16 bit, 0 for none |
| `.depth.png` | `depth` | depth along the view axis in centimetres, 16 bit, 0 for sky, 65535 for 655 m and beyond |
| `.edges.png` | `edges` | line drawing, black on white |
"""


def dataset_card(declared: dict[str, Any], boxes: int) -> str:
    """Markdown for the dataset that ``dataset.json`` declares."""
    conditions, format = declared["conditions"], declared["format"]
    ending = {"webdataset": "tar", "parquet": "parquet"}.get(format)
    matter = ""
    if ending:
        lines = [f"- config_name: {name}\n  data_files: {name}/*.{ending}" for name in conditions]
        matter = _FRONT_MATTER.format(configs="\n".join(lines)) + "\n"
    paired = declared["paired_with"]
    suffix = declared.get("pictures", "jpg")
    members = _MEMBERS.replace("{suffix}", suffix)
    if paired:
        members += f"| `.target.{suffix}` | `target` | the same scene under `{paired}` (not in `{paired}` itself) |\n"
    return f"""{matter}# Procedural street scenes

{declared["scenes"]} scenes ({declared["width"]} x {declared["height"]} pixels) under {len(conditions)} conditions:
{", ".join(f"`{name}`" for name in conditions)}. Rendered by {declared["generator"]} from the seeds
{declared["first_seed"]} to {declared["last_seed"]}; a seed is a scene, and gives the same picture again. Samples of
the same scene have the same key under every condition. {boxes} boxes a condition.

{_LAYOUTS[format]}

{members}
`<condition>/labels_coco.json` and `<condition>/labels_bdd100k.json` hold the boxes of a whole condition. Boxes are
exact: `occluded` says that less than 80 % of a thing's pixels inside the picture are visible; COCO annotations carry
its `visibility` and its number in the instance map. Things of less than 20 visible pixels have no box.
"""
