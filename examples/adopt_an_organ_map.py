"""Turn a study and a label map of its organs into a case folder.

`liverleaf evaluate` can compare a model's liver with it.

python examples/adopt_an_organ_map.py example_ct_dicom example_seg_dicom.nii.gz 5 cohort/case
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from liverleaf.ingest.reader import read_study
from liverleaf.storage.case_folder import save_case
from liverleaf.study import Annotation
from liverleaf.terminology import Organ


def main(source: Path, organ_map: Path, liver: int, case: Path) -> None:
    """Read both, lay the map on the study's grid, save; lesions are unknown and counted as none."""
    study = replace(read_study(source), case_id=case.name)
    values = read_study(organ_map).grid.match_geometry(study.grid).array
    organs = np.where(np.rint(values) == liver, Organ.LIVER, Organ.BACKGROUND).astype(np.uint8)
    none = np.zeros(organs.shape, np.uint16)
    save_case(
        case, study, Annotation(study.grid.with_array(none), study.grid.with_array(organs), ())
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
