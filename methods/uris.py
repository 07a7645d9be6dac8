"""URIs of weights and other files among a method's parameters: marked by their type, so that all are treated alike.

A parameter of type :data:`WeightsUri` may hold environment variables (``$WEIGHTS/x.pt``), may be a path relative to
where the job is started, and may say how its object store is reached::

    base: {uri: s3://models/sd-turbo, storage: {endpoint_url: "http://store:9000"}}

which is kept as one string, the options behind ``#``. :func:`resolved` prepares all URIs of a parameter model for
workers that run elsewhere. No torch here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema

from methods.errors import InputError, first_line

Model = TypeVar("Model", bound=BaseModel)


class StorageOptions(BaseModel):
    """How to reach an object store. Holds no secret: credentials come from the environment or a profile.

    ``key_env`` and ``secret_env`` name environment variables other than AWS_ACCESS_KEY_ID / AWS_SECRET_ACCESS_KEY,
    for jobs that read from one account and write to another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    endpoint_url: str | None = None
    """Address of an S3-compatible server; none for AWS itself."""
    region: str | None = None
    """Region of the bucket."""
    profile: str | None = None
    """Profile of the AWS configuration to take credentials from."""
    key_env: str | None = None
    """Environment variable that holds the access key id, in place of AWS_ACCESS_KEY_ID."""
    secret_env: str | None = None
    """Environment variable that holds the secret key, in place of AWS_SECRET_ACCESS_KEY."""
    anon: bool = False
    """Access without credentials, for public buckets."""

    def arguments(self, protocol: str) -> dict[str, Any]:
        """Keyword arguments of the fsspec filesystem of ``protocol``.

        Raises:
            InputError: a named environment variable is not set.
        """
        if protocol not in ("s3", "s3a"):
            return {}
        found: dict[str, Any] = {"anon": self.anon, "client_kwargs": {}}
        if self.endpoint_url:
            found["endpoint_url"] = self.endpoint_url
        if self.region:
            found["client_kwargs"]["region_name"] = self.region
        if self.profile:
            found["profile"] = self.profile
        for argument, variable in (("key", self.key_env), ("secret", self.secret_env)):
            if variable:
                if variable not in os.environ:
                    raise InputError(f"storage: environment variable {variable} is not set")
                found[argument] = os.environ[variable]
        return found


@dataclass(frozen=True)
class UriMark:
    """Says of an annotation that its strings are URIs, but for some names that mean something else."""

    names: frozenset[str] = frozenset()


def _as_text(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if not isinstance(value.get("uri"), str) or value.keys() - {"uri", "storage"}:
        raise ValueError("expected a URI, or {uri: ..., storage: {...}}")
    try:
        options = StorageOptions.model_validate(value.get("storage") or {})
    except ValidationError as error:
        wrong = error.errors()[0]
        raise ValueError(f"storage.{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from None
    given = options.model_dump(exclude_defaults=True)
    if not given:
        return value["uri"]
    bare, _, fragment = value["uri"].partition("#")
    return f"{bare}#{'&'.join(part for part in (fragment, urlencode(sorted(given.items()))) if part)}"


WeightsUri = Annotated[
    str,
    BeforeValidator(_as_text),
    UriMark(),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {
                        "uri": {"type": "string", "description": "The URI by itself."},
                        "storage": StorageOptions.model_json_schema(),
                    },
                    "required": ["uri"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
"""A URI of :mod:`methods.weights`, or ``{uri, storage}``; kept as one string."""


def split(uri: str) -> tuple[str, str | None, StorageOptions]:
    """The URI itself, the SHA-256 it is pinned to, and how its store is reached.

    Raises:
        InputError: something else behind ``#``.
    """
    bare, _, fragment = uri.partition("#")
    try:
        entries = dict(parse_qsl(fragment, keep_blank_values=True, strict_parsing=bool(fragment)))
        pinned = entries.pop("sha256", None)
        options = StorageOptions.model_validate(entries)
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else first_line(error)
        raise InputError(
            f"weights '{bare}': found '#{fragment}', expected '#sha256=' and 64 hex digits, or storage options "
            f"({reason})"
        ) from None
    if pinned is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", pinned):
        raise InputError(f"weights '{bare}': found '#{fragment}', expected '#sha256=' and 64 hex digits")
    return bare, pinned and pinned.lower(), options


def resolved(params: Model) -> Model:
    """The same parameters, their URIs made ready for any machine: see :func:`resolved_uri`.

    Raises:
        InputError: as :func:`resolved_uri`; the parameter is named.
    """
    return _of_model(params, resolved_uri, "")


def uris(params: BaseModel) -> list[str]:
    """Every URI among the parameters that is set, in order."""
    found: list[str] = []

    def keep(uri: str, where: str) -> str:
        found.append(uri)
        return uri

    _of_model(params, keep, "")
    return found


def resolved_uri(uri: str, where: str = "weights") -> str:
    """Environment variables expanded, and a path that exists here made absolute; all else as it is.

    Raises:
        InputError: a variable that is not set, or a user or password in the URI: it would end up in files and logs.
    """
    text = expanded(uri, where)
    if "@" in urlsplit(text).netloc:
        raise InputError(
            f"{where}: a URI must not carry credentials; set them as environment variables, or name a profile under "
            "storage"
        )
    if "://" in text:
        return text
    path = Path(text).expanduser()
    return str(path.resolve()) if path.exists() else text


def expanded(text: str, where: str) -> str:
    """``$NAME`` and ``${NAME}`` replaced by environment variables.

    Raises:
        InputError: one is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise InputError(f"{where}: environment variable {name} is not set")
        return os.environ[name]

    return re.sub(r"\$\{(\w+)\}|\$(\w+)", value, text)


def _of_model(model: Model, change: Callable[[str, str], str], prefix: str) -> Model:
    changes = {}
    for name, field in type(model).model_fields.items():
        before = getattr(model, name)
        marks = [*_marks(field.annotation), *(each for each in field.metadata if isinstance(each, UriMark))]
        after = _of_value(before, change, f"{prefix}{name}", marks)
        if after is not before:
            changes[name] = after
    return model.model_copy(update=changes) if changes else model


def _of_value(value: Any, change: Callable[[str, str], str], where: str, marks: Sequence[UriMark]) -> Any:
    if isinstance(value, BaseModel):
        return _of_model(value, change, f"{where}.")
    if isinstance(value, str):
        if not marks or any(value in mark.names for mark in marks):
            return value
        after = change(value, where)
        return value if after == value else after
    if isinstance(value, (tuple, list)):
        items = [_of_value(each, change, f"{where}.{number}", marks) for number, each in enumerate(value)]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else type(value)(items)
    if isinstance(value, Mapping):
        entries = {key: _of_value(each, change, f"{where}.{key}", marks) for key, each in value.items()}
        return value if all(entries[key] is value[key] for key in entries) else entries
    return value


def _marks(annotation: Any) -> list[UriMark]:
    if isinstance(annotation, UriMark):
        return [annotation]
    return [mark for each in get_args(annotation) for mark in _marks(each)]
