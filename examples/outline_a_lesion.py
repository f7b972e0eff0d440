"""Turn a study and outlines drawn by eye into a case folder.

`liverleaf evaluate` can compare a model's lesions with them.

python examples/outline_a_lesion.py DICOM_FOLDER docs/results/tcga-lihc-outline.json cohort/case
"""

import json
import sys
from pathlib import Path

import numpy as np
from skimage.draw import polygon2mask

from liverleaf.ingest.reader import read_study
from liverleaf.storage.case_folder import save_case
from liverleaf.study import Annotation, LesionAnnotation
from liverleaf.terminology import LesionType


def main(source: Path, outlines: Path, case: Path) -> None:
    """Read, draw, save."""
    study = read_study(source)
    labels = np.zeros(study.grid.spatial_shape, np.uint16)
    drawn = json.loads(outlines.read_text())
    for label, lesion in enumerate(drawn["lesions"], start=1):
        for z, corners_xy in lesion["slices"].items():
            labels[int(z)][polygon2mask(labels.shape[1:], np.array(corners_xy)[:, ::-1])] = label
    lesions = tuple(
        LesionAnnotation(label, LesionType[entry["type"].upper()], {})
        for label, entry in enumerate(drawn["lesions"], start=1)
    )
    save_case(case, study, Annotation(study.grid.with_array(labels), None, lesions))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
