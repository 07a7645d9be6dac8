"""Dashboard and alerts name metrics that exist, and labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COUNTERS = Path(__file__).resolve().parents[2] / "pipeline" / "run" / "counters.py"


def dashboard() -> dict[str, str]:
    """Expressions of the dashboard by panel title."""
    tree = json.loads((DEPLOY / "grafana" / "sceneshift.json").read_text())
    return {panel["title"]: each["expr"] for panel in tree["panels"] for each in panel["targets"]}


def alerts() -> dict[str, str]:
    """Expressions of the rules by alert."""
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "sceneshift.rules.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def exported() -> dict[str, set[str]]:
    """Metric -> labels, as Ray hands them to Prometheus, read from the one place that makes them."""
    text = COUNTERS.read_text()
    common = set(re.findall(r'"(\w+)"', re.search(r"^_TAGS = (.*)$", text, re.MULTILINE)[1]))  # type: ignore[index]
    found = {}
    for kind, name, labels in re.findall(r'made\((Counter|Gauge), "(\w+)", "[^"]*"((?:, "\w+")*)\)', text):
        suffix = "_total" if kind == "Counter" else ""
        found[f"ray_sceneshift_{name}{suffix}"] = common | set(re.findall(r'"(\w+)"', labels))
    return found


def test_every_metric_and_label_is_exported():
    known = exported()
    assert len(known) >= 8
    used = set()
    for where, expression in {**dashboard(), **alerts()}.items():
        names = re.findall(r"ray_\w+", expression)
        assert names, where
        for name in names:
            assert name in known, f"{where}: {name}"
        labels = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
        labels |= set(re.findall(r"(\w+)=~?\"", expression))
        for label in labels:
            assert any(label in known[name] for name in names), f"{where}: {label}"
        used |= set(names)
    assert used == set(known), "a metric that nobody looks at"


def test_alerts_say_what_to_do():
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "sceneshift.rules.yml").read_text())["groups"]
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("warn", "page")
        assert len(rule["annotations"]["description"]) > 40
    (scrape,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    # Otherwise the label `job` of our metrics would be renamed to `exported_job`.
    assert scrape["honor_labels"] is True
