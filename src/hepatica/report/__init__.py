"""A study, a prediction and its findings in; a page to look at, with its figures, out."""

from hepatica.report.page import write_report

__all__ = ["write_report"]
