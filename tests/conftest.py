"""What all tests share: the third-party plugin, one Ray cluster, small datasets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "tests" / "plugin"

# Before Ray or torch is imported anywhere: workers inherit this environment.
os.environ.update(
    {
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_ENABLE_AUTO_CONNECT": "0",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": os.pathsep.join([str(PLUGIN), str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }
)
# The same examples on every run: a build must not turn red by chance. HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("stable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "stable"))

for folder in (str(ROOT), str(PLUGIN)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

from tests.support.network import guard  # noqa: E402

guard()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests, soak tests and those that need a cluster's programs or a registry run only where they are asked for.

    With two test processes, one has the cluster and all who need it, which come first; modules stay whole.
    """
    for marker in ("long", "soak", "cluster", "fetched"):
        if marker not in config.option.markexpr:
            items[:] = [item for item in items if item.get_closest_marker(marker) is None]
    needing = {item.path for item in items if "ray_cluster" in getattr(item, "fixturenames", ())}
    for item in items:
        item.add_marker(pytest.mark.xdist_group("cluster" if item.path in needing else item.path.stem))
    items.sort(key=lambda item: item.path not in needing)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """The one cluster of the test run; CPUs are logical."""
    import logging

    import ray

    ray.init(
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=300_000_000,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()
