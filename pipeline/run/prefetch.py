"""Weights on every node before a worker starts there: once per node, compared with the driver's."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from methods.errors import InputError, first_line
from methods.weights import identity, redacted
from pipeline.run.cluster import Demand

_log = logging.getLogger(f"sceneshift.{__name__}")


def prefetch(weights: Mapping[str, str], demand: Demand) -> None:
    """Fetch weights on each node that has room for a worker, all nodes at once; one task a node.

    Args:
        weights: URI -> what stands for its content, as the driver knows it and as the job's fingerprint holds it.
        demand: what a worker asks of a node.

    Raises:
        InputError: a node cannot fetch them, or holds other weights under the same address.
    """
    # What is part of this package is on every node that has it.
    wanted = {uri: known for uri, known in weights.items() if not uri.startswith("bundled://")}
    if not wanted:
        return
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) == 1 and nodes[0]["NodeManagerAddress"] == ray.util.get_node_ip_address():
        # The driver has them, and its node is the only one.
        return
    fetching = ray.remote(num_cpus=0, max_retries=2)(_identities)
    tasks = {}
    for node in nodes:
        room = node["Resources"]
        if room.get("CPU", 0) >= demand.cpus and room.get("GPU", 0) >= demand.gpus:
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = fetching.options(scheduling_strategy=place).remote(wanted)
            tasks[task] = node["NodeManagerAddress"]
    for task, address in tasks.items():
        try:
            found = ray.get(task)
        except RayError as error:
            # A node that is lost while it fetches is the graph's concern, which does without it.
            _log.warning("node %s: weights were not fetched beforehand (%s)", address, first_line(error))
            continue
        if isinstance(found, str):
            raise InputError(f"node {address}: {found}")
        for (uri, known), there in zip(wanted.items(), found, strict=True):
            if there != known:
                raise InputError(
                    f"weights '{redacted(uri)}': node {address} has others ({there}) than the driver ({known}); "
                    "empty its cache, or give a path that all nodes share"
                )
    _log.info("weights are on %d nodes", len(tasks))


def _identities(weights: Mapping[str, str]) -> list[str] | str:
    """What the weights are on this node, fetched if need be; or what is wrong, in one line."""
    try:
        return [identity(uri, (known,)) for uri, known in weights.items()]
    except InputError as error:
        return str(error)
