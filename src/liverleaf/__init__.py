"""Multi-phase liver imaging: lesions, their types and their enhancement. Research use only.

The names in `__all__` are the stable interface, which docs/api.md describes. Each is imported when
it is first asked for, so that `import liverleaf` costs nothing.
"""

from __future__ import annotations

import logging
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liverleaf.analysis import analyze, measure_masks
    from liverleaf.cohort.index import Cohort as _Cohort
    from liverleaf.findings import Findings
    from liverleaf.ingest.reader import read_study
    from liverleaf.study import InputError, Study

    open_cohort = _Cohort.open

__version__ = "0.2.0"
__all__ = [
    "Findings",
    "InputError",
    "Study",
    "__version__",
    "analyze",
    "measure_masks",
    "open_cohort",
    "read_study",
]

_HOMES = {
    "Findings": ("liverleaf.findings", "Findings"),
    "InputError": ("liverleaf.study", "InputError"),
    "Study": ("liverleaf.study", "Study"),
    "analyze": ("liverleaf.analysis", "analyze"),
    "measure_masks": ("liverleaf.analysis", "measure_masks"),
    "open_cohort": ("liverleaf.cohort.index", "Cohort.open"),
    "read_study": ("liverleaf.ingest.reader", "read_study"),
}
"""Module and name behind each public name."""


# quiet, unless the program that uses the package asks for its log
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = attrgetter(attribute)(import_module(module))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
