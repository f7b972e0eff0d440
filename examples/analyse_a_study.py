"""Let a model find the lesions of one study, and print them as a table.

python examples/analyse_a_study.py study.zip --out findings
"""

import argparse
from pathlib import Path

from liverleaf import analyze

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument(
    "source", type=Path, help="DICOM folder or zip, NIfTI folder or file, or case folder"
)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument(
    "--model",
    help="a shipped model or the folder of a trained one; the modality's default otherwise",
)
wanted = parser.parse_args()

findings = analyze(wanted.source, wanted.out, model=wanted.model)

liver = "no liver" if findings.liver is None else f"liver {findings.liver.volume_ml:.0f} ml"
print(f"{liver}, {len(findings.lesions)} lesions; page: {wanted.out / 'report.html'}")
for lesion in findings.lesions:
    types = lesion.type_probabilities or {}  # null where a model does not type lesions
    kind = max(types, key=lambda name: types[name], default=None)
    said = "not typed" if kind is None else f"{kind} ({types[kind]:.0%})"
    curve = ", ".join(f"{phase} {value:.0f}" for phase, value in lesion.curve.mean.items())
    print(
        f"lesion {lesion.id}: {lesion.volume_ml:.1f} ml, {lesion.long_axis_mm:.0f} mm, {said},"
        f" curve: {curve}"
    )
for warning in findings.warnings:
    print(f"warning: {warning}")
print(findings.research_use_only)
