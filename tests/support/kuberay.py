"""KubeRay's own schemas, made as strict as the API server is with unknown fields under `--validate=strict`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema.exceptions import best_match
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

_CRON_JOB = Path(__file__).parents[1] / "deploy" / "crds" / "raycronjob.schema.json"


def validate(resource: dict[str, Any]) -> None:
    """Check a RayJob or a RayCronJob. Raises jsonschema.ValidationError."""
    error = best_match(_validator(resource["kind"]).iter_errors(resource))
    if error is not None:
        raise error


@cache
def _validator(kind: str) -> Validator:
    """Of a large schema, whose own check takes seconds: once per kind."""
    schema = strict(json.loads(_CRON_JOB.read_text()))
    if kind == "RayJob":
        # A RayCronJob holds the whole spec of the RayJobs that it creates.
        schema["properties"]["spec"] = schema["properties"]["spec"]["properties"]["jobTemplate"]
    schema["properties"]["metadata"] = {"type": "object"}
    form = validator_for(schema)
    form.check_schema(schema)
    return form(schema)


def strict(schema: Any) -> Any:
    """A custom resource's schema as JSON Schema that takes no unknown field."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        found.pop("type", None)
        found["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if isinstance(schema.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in schema:
        found["additionalProperties"] = False
    return found
