"""Files of statistics: the features of a set's sample, kept so that other sets can be compared with it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from methods.errors import InputError
from methods.weights import are_same
from pipeline.metrics.set_params import SetParams
from pipeline.storage import StorageOptions, Store
from pipeline.uris import redact

_VERSION = 1
_ABOUT = "sceneshift"


def is_statistics(uri: str) -> bool:
    """Whether a reference names a file of statistics, and no dataset."""
    return uri.endswith(".npz")


@dataclass(frozen=True)
class Statistics:
    """Features of one set.

    Attributes:
        source: what set it was, for people.
        pictures: how many it has.
        features: name of the features -> (n, D) float16, in order of rank.
        networks: name of the features -> what stands for the content of the network's weights.
        side: of the middle picture in pixels, the root of its area; ``None`` where it was not kept.
        unreadable: pictures that were to be looked at and cannot be decoded; the file does not keep this.
    """

    source: str
    pictures: int
    features: Mapping[str, np.ndarray]
    networks: Mapping[str, str]
    side: float | None = None
    unreadable: int = 0

    def to_bytes(self) -> bytes:
        """A NumPy archive (``.npz``) that :meth:`from_bytes` reads; the same features give the same bytes."""
        about = {
            "version": _VERSION,
            "source": self.source,
            "pictures": self.pictures,
            "networks": dict(sorted(self.networks.items())),
            **({} if self.side is None else {"side": self.side}),
        }
        text = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
        out = io.BytesIO()
        arrays: dict[str, Any] = {_ABOUT: text, **dict(sorted(self.features.items()))}
        np.savez(out, **arrays)
        return out.getvalue()

    @classmethod
    def read(cls, uri: str, storage: StorageOptions) -> Statistics:
        """Read such a file from a disk or a bucket. Raises InputError: nothing there, or no such file."""
        return cls.from_bytes(Store(uri, storage).read(""), redact(uri))

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Statistics:
        """Read such an archive.

        Raises:
            InputError: not one that ``sceneshift stats`` wrote.
        """
        try:
            archive = np.load(io.BytesIO(data), allow_pickle=False)
            about = json.loads(archive[_ABOUT].tobytes())
            if about["version"] != _VERSION:
                raise ValueError(f"version {about['version']}, expected {_VERSION}")
            features = {name: archive[name] for name in archive.files if name != _ABOUT}
            return cls(about["source"], about["pictures"], features, about["networks"], about.get("side"))
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            raise InputError(
                f"{where}: damaged, or no statistics of a dataset as this version of `sceneshift stats` writes them"
            ) from None

    def of(self, params: SetParams, network: str, where: str, metric: str) -> np.ndarray:
        """The features that a metric compares, at most its sample.

        Args:
            params: of the metric: which features, of which network.
            network: what stands for the content of that network's weights.
            where: the file, for messages.
            metric: its name, for messages.

        Raises:
            InputError: the file has none of this network.
        """
        name = params.set_name()
        theirs = self.networks.get(name)
        if name not in self.features or theirs is None or not are_same(params.weights(), theirs, network):
            known = ", ".join(sorted(self.features)) or "none"
            raise InputError(
                f"{where}: has no features for metric '{metric}' by the same network (it has {known}); write it anew "
                f"with `sceneshift stats SOURCE --out NAME.npz --metric {metric}`"
            )
        return self.features[name][: params.sample]
