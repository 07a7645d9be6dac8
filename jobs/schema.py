"""The JSON Schema of a job, a training or a distillation file, for editors and for machines that write such files."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

Kind = Literal["job", "train", "distill"]


def schema(kind: Kind, method: str | None = None) -> dict[str, Any]:
    """The schema of one kind of file (JSON Schema 2020-12), unknown keys refused.

    Args:
        kind: ``job``, ``train`` or ``distill``.
        method: a method (of a job) or an objective (of a training or a distillation) whose presets and parameters are
            put in the place of the free-form ``params``.

    Raises:
        InputError: no such method or objective; the nearest is named.
    """
    model = spec_model(kind)
    tree = model_schema(model)
    tree["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    tree["title"] = f"sceneshift {kind}"
    if method is not None:
        _put_in(tree, kind, method)
    return tree


def model_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a model, with a description on one line for every key."""
    tree = model.model_json_schema()
    _describe_blocks(tree)
    _join_lines(tree)
    return tree


def spec_model(kind: Kind) -> type[BaseModel]:
    """The pydantic model of one kind of file."""
    if kind == "job":
        from pipeline.spec import JobSpec

        return JobSpec
    if kind == "train":
        from pipeline.training.spec import TrainSpec

        return TrainSpec
    from pipeline.training.distillation import DistillSpec

    return DistillSpec


def _describe_blocks(tree: dict[str, Any]) -> None:
    """Give a key that is a whole block its description, which pydantic leaves out where the block's own is the same.

    Editors show what stands beside the ``$ref``, not what is behind it.
    """
    blocks = tree.get("$defs", {})
    for block in (tree, *blocks.values()):
        for key in block.get("properties", {}).values():
            behind = blocks.get(str(key.get("$ref", "")).removeprefix("#/$defs/"), {})
            if "description" in behind:
                key.setdefault("description", behind["description"])


def _join_lines(tree: Any) -> None:
    """Put every description on one line: those of a docstring end where the lines of the source do."""
    for each in tree if isinstance(tree, list) else tree.values() if isinstance(tree, dict) else ():
        _join_lines(each)
    if isinstance(tree, dict) and isinstance(tree.get("description"), str):
        tree["description"] = " ".join(tree["description"].split())


def _put_in(tree: dict[str, Any], kind: Kind, name: str) -> None:
    """Put the parameters of a method or an objective in the place of the free-form ones."""
    if kind == "job":
        from methods.registry import info

        found, block = info(name), "MethodSpec"
        if found.presets:
            presets = {"enum": [*found.presets, None], "default": None}
            tree["$defs"][block]["properties"]["preset"] |= presets
            tree["$defs"][block]["properties"]["preset"].pop("anyOf", None)
    else:
        from methods.train.registry import info

        found, block = info(name), "ObjectiveSpec" if kind == "train" else "StudentSpec"
    params = model_schema(found.params)
    tree["$defs"] |= params.pop("$defs", {})
    tree["$defs"][found.params.__name__] = params
    properties = tree["$defs"][block]["properties"]
    properties["params"] = {"$ref": f"#/$defs/{found.params.__name__}", "description": f"Parameters of {name}."}
    key = "objective" if kind == "distill" else "name"
    properties[key] = {"const": name, "description": properties[key].get("description", "")}
    if any(field.is_required() for field in found.params.model_fields.values()):
        tree["$defs"][block].setdefault("required", []).append("params")
