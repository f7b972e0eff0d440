"""The path of a study in, its lesions as a table and a folder with masks, findings and a page out.

python examples/analyse_a_study.py study.zip --out findings
"""

import argparse
from pathlib import Path

from liverleaf.analysis import analyze

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

print(
    f"liver {findings.liver.volume_ml:.0f} ml, {len(findings.lesions)} lesions; page:"
    f" {wanted.out / 'report.html'}"
)
for lesion in findings.lesions:
    kind, probability = max(lesion.type_probabilities.items(), key=lambda item: item[1])
    curve = ", ".join(f"{phase} {value:.0f}" for phase, value in lesion.curve.mean.items())
    print(
        f"lesion {lesion.id}: {lesion.volume_ml:.1f} ml, {lesion.long_axis_mm:.0f} mm, {kind}"
        f" ({probability:.0%}), curve: {curve}"
    )
for warning in findings.warnings:
    print(f"warning: {warning}")
print(findings.research_use_only)
