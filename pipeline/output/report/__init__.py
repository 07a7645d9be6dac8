"""The report: one self-contained HTML page about an output, with pictures and plots and no need of a network."""

from __future__ import annotations

from pipeline.output.report.page import write_report

__all__ = ["write_report"]
