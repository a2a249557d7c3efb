"""The report page of an evaluation."""

from d2det_geo.pipeline.report.page import write_report

__all__ = ["write_report"]
