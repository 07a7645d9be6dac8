"""Where things lie inside an output: every name of a file or folder that we write there, once.

Names are relative to the output's root, with ``/`` between their parts, on a disk and in a bucket alike.
"""

from __future__ import annotations

OWN = "_sceneshift"
"""Folder of what is not for readers of the dataset: records, the lock, logs."""

JOB_FILE = f"{OWN}/job.json"
"""The job's description with its fingerprint; what makes a folder an output of `sceneshift run`."""

TRAIN_FILE = f"{OWN}/train.json"
"""What makes a folder an output of `sceneshift train` or `distill`."""

TRAINING_RECORD_FILE = f"{OWN}/training.json"
"""How far a training is, and on what it ran."""

LOCK_FILE = f"{OWN}/lock.json"
PROBE = f"{OWN}/probe"
"""Put and taken away before a run, to see whether anything can be written; a token follows."""

PLAN_FILE = f"{OWN}/plan.parquet"
FINDINGS_FILE = f"{OWN}/findings.json"
LABEL_INFO_FILE = f"{OWN}/labels.json"
"""What the label files of the dataset were."""

VIEW_FILE = f"{OWN}/view.json"
"""A filter that was applied to the output after its job."""

SUCCESS_FILE = f"{OWN}/success.json"
"""Put last: every shard is committed and summarised."""

PART_LOCKS = f"{OWN}/parts"
"""Locks of the parts of a job that is worked on in parts, each by a process of its own."""

RUNS = f"{OWN}/runs"
LOGS = f"{OWN}/logs"
FEATURES = f"{OWN}/features"

REFERENCE_FILE = f"{OWN}/reference.npz"
"""Statistics of the dataset that the outputs are compared with as a set."""

DATA = "data"
INDEX = "index"
IMAGES = "images"
"""Pictures of an output of loose files; their data files name them."""

REPORT = "report"
MERGED_INDEX = "index.parquet"
METRICS_FILE = "metrics.json"
CARD_FILE = "README.md"
REPORT_FILE = f"{REPORT}/index.html"
LABELS_FILE = "labels.json"
"""All labels in one COCO file, of an output of loose files."""

SUMMARIES = (MERGED_INDEX, METRICS_FILE, CARD_FILE, REPORT_FILE)
"""What `finalise` writes for those who read an output; it can be made again from what is committed."""


def data_path(shard: str, format: str) -> str:
    """The data file of a shard, by the output's format."""
    return f"{DATA}/{shard}.{'tar' if format == 'webdataset' else 'parquet'}"


def part_path(shard: str) -> str:
    """The index part of a shard, which commits it."""
    return f"{INDEX}/{shard}.parquet"


def features_path(name: str, shard: str) -> str:
    """The features of a shard's pictures that a dataset-level metric combines, by the metric's name for them."""
    return f"{FEATURES}/{name}/{shard}.npy"
