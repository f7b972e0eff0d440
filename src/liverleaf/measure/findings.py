"""Measurement of a study: everything measured under masks, beside what a model says.

A study, anybody's segmentation and, where there is one, a model's prediction go in; findings come
out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from liverleaf.findings import (
    AlignmentRecord,
    CaseRecord,
    ClassRecord,
    ConditionRecord,
    ContrastRecord,
    CurveRecord,
    DoubtRecord,
    FeatureRecord,
    Findings,
    LesionRecord,
    LiverRecord,
    MaskAxis,
    PatientRecord,
    PhaseRecord,
    PlaceRecord,
    Point,
    Provenance,
    ScoreRecord,
    SegmentationRecord,
    Span,
    StudyRecord,
    WashIn,
    WashOut,
)
from liverleaf.measure import enhancement, lesions, plausibility
from liverleaf.measure.plausibility import Implausible, TrainedOn
from liverleaf.measure.uncertainty import (
    Spread,
    around,
    depth_interval,
    lesion_intervals,
    spread_of,
    volume_interval,
)
from liverleaf.prediction import LesionPrediction, Prediction
from liverleaf.registration.travel import Place
from liverleaf.segmentation import Segmentation
from liverleaf.storage.volumes import axis_order
from liverleaf.study import BodyPart, Phase, PhaseImage, Study, same_grid
from liverleaf.terminology import SMALLEST_SCORED_MM3, LesionType, TypeName

Places = Mapping[int, Mapping[Phase, Place]]

NO_PREDICTION = Prediction(model="")
"""What no model says: nothing."""


def measure(
    study: Study,
    segmentation: Segmentation | None,
    prediction: Prediction | None = None,
    *,
    left_out: Collection[Phase] = (),
    trained_on: TrainedOn | None = None,
    places: Places | None = None,
    provenance: Provenance | None = None,
) -> Findings:
    """Measure anybody's masks in the images of a study, beside what a model says of it.

    Phases whose registration is not trusted are left out of every measurement, with a warning. A
    provenance that is known only later is put in by
    `findings.model_copy(update={"provenance": provenance})`.

    Args:
        study: all phases on the reference phase's grid.
        segmentation: masks on the same grid; None where there are none, and nothing is measured.
        prediction: what a model says of these masks and of the whole study; None without a model.
        left_out: the phases that the model was not given.
        trained_on: the images that the model was trained on; None where nobody knows.
        places: where each lesion lies in each phase as scanned, by label.
        provenance: where the numbers come from.

    Raises:
        ValueError: the phases or the masks lie on different grids, or the model says something of
            other lesions than those of the masks.
    """
    if not study.on_one_grid:
        raise ValueError("the phases lie on different grids: register the study first")
    predicted = prediction or NO_PREDICTION
    said = {lesion.label: lesion for lesion in predicted.lesions}
    measured = (
        _Measured()
        if segmentation is None
        else _measure_masks(study, segmentation, said, places or {})
    )
    doubts = [] if trained_on is None else plausibility.doubts_of_images(study.grid, trained_on)
    doubts += measured.doubts
    return Findings(
        model=None if prediction is None else prediction.model,
        study=_study_record(study, None if prediction is None else frozenset(left_out)),
        segmentation=None if segmentation is None else _segmentation_record(segmentation),
        liver=measured.liver,
        patient=_patient_record(predicted),
        case=_case_record(predicted),
        lesions=_with_wide_sets(measured.lesions, doubts),
        doubts=tuple(
            DoubtRecord(code=doubt.code.value, lesion=doubt.lesion, text=doubt.sentence)
            for doubt in doubts
        ),
        warnings=(
            *(doubt.sentence for doubt in doubts),
            *predicted.warnings,
            *_untrusted_warnings(study, None if prediction is None else frozenset(left_out)),
            *measured.warnings,
        ),
        provenance=provenance,
    )


@dataclass(frozen=True)
class _Measured:
    """What is measured under the masks of a study."""

    liver: LiverRecord | None = None
    lesions: tuple[LesionRecord, ...] = ()
    doubts: tuple[Implausible, ...] = ()
    warnings: tuple[str, ...] = ()


def _measure_masks(
    study: Study,
    segmentation: Segmentation,
    said: Mapping[int, LesionPrediction],
    lies: Places,
) -> _Measured:
    labels = segmentation.lesions.array
    boxes = {label: box for label, box in enumerate(lesions.boxes(labels), start=1) if box}
    _check(study, segmentation, set(boxes), set(said))
    images = {phase: image.volume.array for phase, image in study.phases.items() if _trusted(image)}
    liver = _measure_liver(study, segmentation, images)
    records = tuple(
        _lesion_record(
            study,
            images,
            labels,
            boxes[label],
            said.get(label, LesionPrediction(label)),
            liver.background,
            liver.depths_mm.get(label),
            lies.get(label, {}),
            liver.spread_of_measures,
        )
        for label in sorted(boxes)
    )
    doubts = [*liver.doubts]
    if segmentation.liver is not None and liver.record is not None:
        for record in records:
            doubts += _lesion_doubts(study, images, segmentation, record, boxes[record.id], liver)
    return _Measured(liver.record, records, tuple(doubts), liver.warnings)


@dataclass(frozen=True)
class _Liver:
    """The liver measured, and what lesions are compared with; without a mask, nothing of it.

    Attributes:
        record: its findings.
        background: the curve of its parenchyma, None where there is too little.
        spread: standard deviation of its parenchyma per phase.
        depths_mm: distance to its surface by lesion label.
        spread_of_measures: from which intervals are made.
        doubts: what is hardly plausible about it.
        warnings: what is doubtful about it.
    """

    record: LiverRecord | None = None
    background: enhancement.Curve | None = None
    spread: Mapping[Phase, float] = field(default_factory=dict)
    depths_mm: Mapping[int, float] = field(default_factory=dict)
    spread_of_measures: Spread = field(default_factory=Spread)
    doubts: tuple[Implausible, ...] = ()
    warnings: tuple[str, ...] = ()


def _measure_liver(study: Study, segmentation: Segmentation, images: enhancement.Images) -> _Liver:
    if segmentation.liver is None:
        unsure = spread_of(study, images, segmentation, None)
        if study.body_part is not BodyPart.ABDOMEN:  # nobody would miss it
            return _Liver(spread_of_measures=unsure)
        return _Liver(
            spread_of_measures=unsure,
            warnings=("There is no liver mask: lesions are not compared with the liver.",),
        )
    labels, liver = segmentation.lesions.array, segmentation.liver.array
    spacing_mm = study.grid.spacing
    where = enhancement.background_region(liver, labels, spacing_mm)
    background = None if where is None else enhancement.background_curve(images, where)
    liver_ml = lesions.volume_ml(liver, spacing_mm)
    bounds = volume_interval(liver, spacing_mm) if liver_ml else None
    return _Liver(
        LiverRecord(volume_ml=liver_ml, volume_interval_ml=bounds),
        background,
        plausibility.liver_spread(images, liver, labels),
        lesions.capsule_distances_mm(labels, liver, spacing_mm),
        spread_of(study, images, segmentation, background, where),
        tuple(plausibility.doubts_of_liver(study, segmentation.liver)),
        _liver_warnings(liver, liver_ml, background),
    )


def _lesion_doubts(
    study: Study,
    images: enhancement.Images,
    segmentation: Segmentation,
    record: LesionRecord,
    box: lesions.Box,
    liver: _Liver,
) -> list[Implausible]:
    """What is hardly plausible about one lesion in its liver."""
    assert segmentation.liver is not None and liver.record is not None
    filled = plausibility.doubt_of_share(record.id, record.volume_ml, liver.record.volume_ml)
    doubts = [] if filled is None else [filled]
    if liver.background is None or study.body_part is not BodyPart.ABDOMEN:
        return doubts
    mask = segmentation.lesions.array[box] == record.id
    core = ndimage.binary_erosion(mask)
    inside = {phase: image[box] for phase, image in images.items()}
    if core.sum() < plausibility.SMALLEST_CORE_VOXELS:
        return doubts
    curve = enhancement.curve(inside, core)
    spread = {phase: float(inside[phase][core].std()) for phase in curve.mean}
    if plausibility.looks_like_bile(
        curve, liver.background, study.modality, spread=spread, liver_spread=liver.spread
    ) and plausibility.lies_at_lower_surface(
        segmentation.lesions.array == record.id, segmentation.liver.array, study.grid
    ):
        doubts.append(Implausible(plausibility.Doubt.MAY_BE_GALLBLADDER, record.id))
    return doubts


def _with_wide_sets(
    records: tuple[LesionRecord, ...], doubts: Collection[Implausible]
) -> tuple[LesionRecord, ...]:
    """The lesions, with all types in the sets of those that a doubt stands against."""
    doubtful = {doubt.lesion for doubt in doubts}
    wide = []
    for record in records:
        if record.type_probabilities is not None and doubtful & {None, record.id}:
            types = sorted(record.type_probabilities.items(), key=lambda item: -item[1])
            record = record.model_copy(update={"type_set": tuple(name for name, _ in types)})
        wide.append(record)
    return tuple(wide)


def _check(study: Study, segmentation: Segmentation, present: set[int], said: set[int]) -> None:
    if not same_grid(segmentation.lesions, study.grid):
        raise ValueError(f"the masks do not lie on the grid of the {study.reference.title} phase")
    if said and present != said:
        raise ValueError(
            f"the lesion mask holds labels {sorted(present)}, the prediction {sorted(said)}"
        )


def _trusted(image: PhaseImage) -> bool:
    return image.alignment is None or image.alignment.trusted


def _segmentation_record(segmentation: Segmentation) -> SegmentationRecord:
    organs = tuple(organ.name.lower() for organ in sorted(segmentation.organs))
    return SegmentationRecord(
        source=segmentation.source,
        method=segmentation.method.value,
        organs=organs,
        drawn_on=None if segmentation.drawn_on is None else segmentation.drawn_on.key,
        liver_source=segmentation.liver_source,
    )


def _patient_record(prediction: Prediction) -> PatientRecord | None:
    if prediction.patient is None or prediction.malignant is None:
        return None
    return PatientRecord(
        type_probabilities=_by_type(prediction.patient),
        malignant_probability=prediction.malignant,
        rule=prediction.patient_rule,
    )


def _case_record(prediction: Prediction) -> CaseRecord | None:
    if not prediction.case_scores and not prediction.case_classes:
        return None
    return CaseRecord(
        scores=tuple(ScoreRecord(**vars(score)) for score in prediction.case_scores),
        classes=tuple(
            ClassRecord(name=named.name, probabilities=dict(named.probabilities))
            for named in prediction.case_classes
        ),
    )


def _by_type(probabilities: Mapping[LesionType, float]) -> dict[TypeName, float]:
    return {lesion_type.key: probabilities[lesion_type] for lesion_type in sorted(probabilities)}


def _curve_record(mean: Mapping[Phase, float], study: Study) -> CurveRecord:
    unit = cast(Literal["HU", "a.u."], study.modality.unit)
    return CurveRecord(
        unit=unit,
        mean={phase.key: mean[phase] for phase in sorted(mean) if np.isfinite(mean[phase])},
    )


def _study_record(study: Study, left_out: frozenset[Phase] | None) -> StudyRecord:
    """What was read; `left_out` is None without a model."""
    return StudyRecord(
        case_id=study.case_id,
        modality=study.modality.value,
        body_part=study.body_part.value,
        species=study.species.value,
        study_instance_uid=study.phases[study.reference].source.study_instance_uid,
        agent=study.agent,
        reference_phase=study.reference.key,
        shape=study.grid.spatial_shape,
        spacing_mm=cast(
            tuple[float, float, float], tuple(round(size, 4) for size in study.grid.spacing)
        ),
        affine=cast(Any, tuple(tuple(row) for row in (study.grid.affine.round(6) + 0.0).tolist())),
        mask_axes=_mask_axes(study),
        phases=tuple(
            PhaseRecord(
                phase=phase.key,
                time_s=image.time_s,
                confidence=image.confidence,
                evidence=image.evidence,
                alignment=(
                    None if image.alignment is None else AlignmentRecord(**vars(image.alignment))
                ),
                given_to_model=None if left_out is None else phase not in left_out,
                series_instance_uid=image.source.series_instance_uid,
                sop_instance_uids=image.source.sop_instance_uids,
            )
            for phase, image in study.phases.items()
        ),
        warnings=study.warnings,
    )


def _mask_axes(study: Study) -> tuple[MaskAxis, MaskAxis, MaskAxis]:
    """The axes of the files of masks, as `storage.volumes.save_volume` writes them."""
    file_grid = study.phases[study.reference].file_grid
    order = None if file_grid is None else axis_order(study.grid.get_geometry(), file_grid)
    if order is None:
        return ("x", "y", "z")
    names = [
        f"{'-' if axis in order.backwards else ''}{'zyx'[source]}"
        for axis, source in enumerate(order.source)
    ]
    return cast(tuple[MaskAxis, MaskAxis, MaskAxis], tuple(names))


def _lesion_record(
    study: Study,
    images: enhancement.Images,
    labels_ZYX: NDArray[np.integer],
    box: lesions.Box,
    lesion: LesionPrediction,
    background: enhancement.Curve | None,
    depth_mm: float | None,
    lies: Mapping[Phase, Place],
    spread: Spread,
) -> LesionRecord:
    mask = labels_ZYX[box] == lesion.label
    inside = {phase: image[box] for phase, image in images.items()}
    affine = study.grid[box].affine  # type: ignore[index]  # annotated for one axis only
    spacing_mm, modality = study.grid.spacing, study.modality
    curve = enhancement.curve(inside, mask)
    late = enhancement.late_phase(curve.mean, agent=study.agent)
    size = lesions.diameters(mask, affine)
    volume_ml = lesions.volume_ml(mask, spacing_mm)
    features = (
        ()
        if background is None
        else enhancement.features(inside, mask, background, modality, spacing_mm, late=late)
    )
    return LesionRecord(
        id=lesion.label,
        centroid_mm=cast(Point, tuple(lesions.centroid_mm(mask, affine))),
        places={phase.key: _place_record(lies[phase]) for phase in sorted(lies)},
        bbox=cast(tuple[Span, Span, Span], tuple((axis.start, axis.stop) for axis in box)),
        volume_ml=volume_ml,
        long_axis_mm=size.long_axis_mm,
        short_axis_mm=size.short_axis_mm,
        capsule_distance_mm=depth_mm,
        score=lesion.score,
        type_probabilities=(
            None if lesion.type_probabilities is None else _by_type(lesion.type_probabilities)
        ),
        type_set=None if lesion.type_set is None else tuple(kind.key for kind in lesion.type_set),
        curve=_curve_record(curve.mean, study),
        predicted_curve=None if lesion.curve is None else _curve_record(lesion.curve, study),
        liver_curve=None if background is None else _curve_record(background.mean, study),
        contrast=None if background is None else _contrast(curve, background, study),
        wash_in=_wash_in(curve, background, study),
        wash_out=None if late is None else _wash_out(curve, background, late, study),
        intervals=_intervals(
            study, images, labels_ZYX, lesion.label, box, curve, background, depth_mm, spread
        ),
        features=tuple(_feature_record(feature) for feature in features),
        warnings=(
            *_phase_warnings(study, curve, typed=lesion.type_probabilities is not None),
            *_shape_warnings(study, mask, box, volume_ml, detected=lesion.score is not None),
        ),
    )


def _intervals(
    study: Study,
    images: enhancement.Images,
    labels_ZYX: NDArray[np.integer],
    label: int,
    box: lesions.Box,
    curve: enhancement.Curve,
    background: enhancement.Curve | None,
    depth_mm: float | None,
    spread: Spread,
) -> dict[str, tuple[float, float]]:
    """The 90 % intervals of what is measured of a lesion, by path."""
    spacing_mm = study.grid.spacing
    wide = around(box, study.grid.spatial_shape, spacing_mm)
    found = lesion_intervals(
        {phase: image[wide] for phase, image in images.items()},
        labels_ZYX[wide] == label,
        study.grid[wide].affine,  # type: ignore[index]  # annotated for one axis only
        curve,
        background,
        modality=study.modality,
        late=enhancement.late_phase(curve.mean, agent=study.agent),
        spread=spread,
    )
    if depth_mm is not None:
        found["capsule_distance_mm"] = depth_interval(depth_mm, min(spacing_mm))
    return {name: (bounds.low, bounds.high) for name, bounds in found.items()}


def _place_record(place: Place) -> PlaceRecord:
    centre_mm = cast(Point, tuple(place.centre_mm.tolist()))
    return PlaceRecord(centre_mm=centre_mm, coverage=place.coverage)


def _contrast(
    curve: enhancement.Curve, background: enhancement.Curve, study: Study
) -> ContrastRecord:
    unit = cast(Literal["HU", "fraction of liver"], enhancement.contrast_unit(study.modality))
    by_phase = {
        phase.key: enhancement.contrast(curve, background, phase, study.modality)
        for phase in sorted(curve.mean)
    }
    return ContrastRecord(
        unit=unit, by_phase={key: value for key, value in by_phase.items() if value is not None}
    )


def _feature_record(feature: enhancement.Feature) -> FeatureRecord:
    unit = cast(Literal["HU", "fraction of liver"], feature.unit)
    conditions = tuple(
        ConditionRecord(**{**vars(condition), "met": condition.met})
        for condition in feature.conditions
    )
    return FeatureRecord(
        name=feature.name,
        present=feature.present,
        evidence=feature.evidence,
        threshold=feature.threshold,
        unit=unit,
        conditions=conditions,
    )


def _wash_in(
    curve: enhancement.Curve, background: enhancement.Curve | None, study: Study
) -> WashIn | None:
    own = enhancement.wash_in(curve, study.modality)
    if own is None:
        return None
    against = (
        None
        if background is None
        else enhancement.wash_in_against_liver(curve, background, study.modality)
    )
    unit = cast(Literal["HU", "fraction of pre"], enhancement.enhancement_unit(study.modality))
    return WashIn(enhancement=own, against_liver=against, unit=unit)


def _wash_out(
    curve: enhancement.Curve, background: enhancement.Curve | None, late: Phase, study: Study
) -> WashOut | None:
    share_lost = enhancement.wash_out(curve, late, study.modality)
    against = (
        None
        if background is None
        else enhancement.wash_out_against_liver(curve, background, late, study.modality)
    )
    percent = (
        None if background is None else enhancement.liver_to_lesion_percent(curve, background, late)
    )
    status = enhancement.wash_out_status(curve, background, late, study.modality)
    not_measurable = status is enhancement.WashOutStatus.NOT_MEASURABLE
    if not_measurable and share_lost is None and percent is None:
        return None
    unit = cast(Literal["HU", "fraction of liver"], enhancement.contrast_unit(study.modality))
    return WashOut(
        phase=late.key,
        status=status.value,
        share_lost=share_lost,
        against_liver=against,
        unit=unit,
        liver_to_lesion_percent=percent,
    )


def _untrusted_warnings(study: Study, left_out: frozenset[Phase] | None) -> list[str]:
    """What happened to phases that are not fit; `left_out` is None without a model."""
    warnings = []
    for phase, image in study.phases.items():
        reason = None if image.alignment is None else image.alignment.reason
        if image.alignment is None or reason is None or image.alignment.fit_for_model:
            continue
        consequences = []
        if left_out is not None and phase in left_out:
            consequences.append("the masks were made without it")
        elif left_out is not None:
            consequences.append("but the masks were made with it, look at them with care")
        if not image.alignment.trusted:
            consequences.append("it is left out of all curves and features")
        if consequences:
            warnings.append(f"The {phase.title} phase {reason.text}: {'; '.join(consequences)}.")
    return warnings


def _liver_warnings(
    liver_ZYX: lesions.Mask, liver_ml: float, background: enhancement.Curve | None
) -> tuple[str, ...]:
    if liver_ml == 0:
        return ("No liver was found: this may not be an image of the liver.",)
    warnings = []
    if any(liver_ZYX.take(end, axis).any() for axis in range(3) for end in (0, -1)):
        warnings.append(
            "The liver reaches the edge of the images: its volume is that of the part shown."
        )
    if background is None:
        warnings.append("There is too little liver without lesions to compare lesions with.")
    return tuple(warnings)


def _phase_warnings(study: Study, curve: enhancement.Curve, *, typed: bool) -> list[str]:
    """What missing and badly aligned phases mean for one lesion."""
    warnings = []
    if len(study.phases) == 1 and typed:
        warnings.append(f"Only the {study.reference.title} phase was given: the type is doubtful.")
    for phase, consequence in (
        (Phase.ARTERIAL, "no wash-in, wash-out or features"),
        (Phase.PRE, "no wash-in"),
    ):
        if phase not in study.phases:
            warnings.append(f"There is no {phase.title} phase: {consequence}.")
    for phase, image in study.phases.items():
        if image.alignment is not None and not image.alignment.trusted and image.alignment.reason:
            warnings.append(
                f"The {phase.title} phase {image.alignment.reason.text}: it is left out of the"
                " curve."
            )
        elif phase not in curve.mean:
            warnings.append(
                f"The {phase.title} phase does not cover the lesion and is left out of the curve."
            )
    return warnings


def _shape_warnings(
    study: Study, mask_ZYX: lesions.Mask, box: lesions.Box, volume_ml: float, *, detected: bool
) -> list[str]:
    """What makes one lesion's size doubtful."""
    warnings = []
    pieces = int(cc3d.connected_components(mask_ZYX, connectivity=26, binary_image=True).max())
    if pieces > 1:
        warnings.append(f"Its mask falls into {pieces} pieces, which are measured as one lesion.")
    if any(
        axis.start == 0 or axis.stop == size
        for axis, size in zip(box, study.grid.spatial_shape, strict=True)
    ):
        warnings.append(
            "The lesion reaches the edge of the images: its size is that of the part shown."
        )
    if detected and 1000 * volume_ml < SMALLEST_SCORED_MM3:
        warnings.append(
            f"The lesion is smaller than {SMALLEST_SCORED_MM3:.0f} mm3, the smallest for which"
            " detection is evaluated."
        )
    return warnings
