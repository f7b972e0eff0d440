"""Every kind of damage that files are given, by the format of the valid file."""

from __future__ import annotations

from collections.abc import Mapping

from liverleaf.benchmarks.fuzzing.container_mutations import CASE, NIFTI, ZIP
from liverleaf.benchmarks.fuzzing.dicom_mutations import DICOM, damage_fragments
from liverleaf.benchmarks.fuzzing.file_mutations import Mutation

MUTATIONS: Mapping[str, dict[str, Mutation]] = {
    "dicom": DICOM,
    "compressed dicom": DICOM | {"damaged fragments": damage_fragments},
    "nifti": NIFTI,
    "zip": ZIP,
    "case": CASE,
}
"""By format of the source and name of the damage; cases are numbered by this order."""
