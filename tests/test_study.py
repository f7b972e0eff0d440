"""Studies: phases in the order of the bolus, a reference phase, grids compared in millimetres."""

import highdicom as hd
import numpy as np
import pytest

from liverleaf.study import Modality, OnDemand, Phase, PhaseImage, SourceIds, Study, same_grid

SHAPE = (4, 5, 6)


def volume(affine: np.ndarray | None = None, shape: tuple[int, ...] = SHAPE) -> hd.Volume:
    return hd.Volume(
        np.zeros(shape, np.float32), np.eye(4) if affine is None else affine, "PATIENT"
    )


def study(*phases: Phase) -> Study:
    return Study(Modality.CT, {phase: PhaseImage(volume()) for phase in phases})


def test_phases_stand_in_the_order_of_the_bolus() -> None:
    assert list(study(Phase.DELAYED, Phase.PRE, Phase.ARTERIAL).phases) == [
        Phase.PRE,
        Phase.ARTERIAL,
        Phase.DELAYED,
    ]


@pytest.mark.parametrize(
    ("phases", "reference"),
    [
        ((Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED), Phase.PORTAL),
        ((Phase.PRE, Phase.ARTERIAL, Phase.DELAYED), Phase.DELAYED),
        ((Phase.PRE, Phase.ARTERIAL, Phase.HEPATOBILIARY), Phase.ARTERIAL),
        ((Phase.PRE,), Phase.PRE),
    ],
)
def test_the_reference_phase(phases: tuple[Phase, ...], reference: Phase) -> None:
    assert study(*phases).reference is reference


def test_a_study_without_phases_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one phase"):
        study()


def test_images_are_float32_of_three_axes() -> None:
    with pytest.raises(ValueError, match="float32, got int16"):
        PhaseImage(hd.Volume(np.zeros(SHAPE, np.int16), np.eye(4), "PATIENT"))
    channels = hd.Volume(
        np.zeros((*SHAPE, 2), np.float32), np.eye(4), "PATIENT", channels={"SegmentNumber": [1, 2]}
    )
    with pytest.raises(ValueError, match="three axes"):
        PhaseImage(channels)


@pytest.mark.parametrize("phase", list(Phase))
def test_phases_are_parsed_by_their_key_in_any_case(phase: Phase) -> None:
    assert Phase.parse(phase.key) is Phase.parse(phase.key.upper()) is phase


def test_an_unknown_phase_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match="'venous' is no phase; use pre, arterial, portal"):
        Phase.parse("venous")


def aside(mm: float) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = mm
    return affine


def turned(degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (volume(), True),
        (volume(shape=(4, 5, 7)), False),
        (volume(aside(0.005)), True),
        (volume(aside(0.02)), False),
        (volume(turned(0.01)), True),  # 0.001 mm at the far corner
        (volume(turned(0.2)), False),  # 0.02 mm at the far corner, nothing at the near one
    ],
    ids=["equal", "larger", "little aside", "aside", "hardly turned", "turned"],
)
def test_grids_are_compared_in_millimetres(other: hd.Volume, same: bool) -> None:
    assert same_grid(volume(), other) is same


def test_large_values_are_made_when_asked_for_and_not_kept() -> None:
    made: list[str] = []

    def make() -> int:
        made.append("x")
        return len(made)

    values = OnDemand({"a": make})
    assert (len(values), list(values), made) == (1, ["a"], [])
    assert (values["a"], values["a"]) == (1, 2)


def test_an_image_of_no_dicom_has_no_identifiers() -> None:
    assert PhaseImage(volume()).source == SourceIds(None, None, ())
