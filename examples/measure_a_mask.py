"""Measure lesions that a person outlined and print their enhancement.

python examples/measure_a_mask.py study.zip --lesions lesions.nii.gz --out findings
"""

import argparse
from pathlib import Path

from liverleaf import measure_masks

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument(
    "source", type=Path, help="DICOM folder or zip, NIfTI folder or file, or case folder"
)
parser.add_argument(
    "--lesions", type=Path, required=True, help="masks: NIfTI, DICOM SEG or RTSTRUCT"
)
parser.add_argument("--liver", type=Path, help="mask of it; without, a model outlines it")
parser.add_argument("--out", type=Path, required=True)
wanted = parser.parse_args()

findings = measure_masks(wanted.source, wanted.out, lesions=wanted.lesions, liver=wanted.liver)

for lesion in findings.lesions:
    size = f"{lesion.volume_ml:.2f} ml, {lesion.long_axis_mm:.0f} x {lesion.short_axis_mm:.0f} mm"
    wash_in = lesion.wash_in
    uptake = (
        "wash-in not measurable"
        if wash_in is None
        else f"wash-in {wash_in.enhancement:.3g} {wash_in.unit}"
    )
    print(f"lesion {lesion.id}: {size}, {uptake}")
    liver = {} if lesion.liver_curve is None else lesion.liver_curve.mean
    for phase, value in lesion.curve.mean.items():
        beside = f", liver {liver[phase]:.0f}" if phase in liver else ""
        print(f"  {phase}: {value:.0f}{beside} {lesion.curve.unit}")
for warning in findings.warnings:
    print(f"warning: {warning}")
print(f"page: {wanted.out / 'report.html'}")
