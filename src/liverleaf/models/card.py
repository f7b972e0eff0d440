"""A model's card: the page that people read before they trust it, from its description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from liverleaf.data.network_input import channel_title
from liverleaf.models.checkpoint import ModelCard
from liverleaf.models.family import Output
from liverleaf.study import Modality, Phase, Species
from liverleaf.terminology import SMALLEST_SCORED_MM3

NAMES = {
    "liver_dice": "Dice of the liver",
    "lesion_dice": "Dice of the lesions, cases with a lesion",
    "lesion_iou": "IoU of the lesions, cases with a lesion",
    "lesion_sensitivity": f"sensitivity, lesions of at least {SMALLEST_SCORED_MM3:.0f} mm3",
    "lesion_precision": "precision of the detected lesions",
    "type_accuracy": "accuracy of the type, detected lesions",
    "type_set_coverage": "share of 90 % sets that hold the true type",
    "type_set_size": "types in a 90 % set",
    "curve_mae": "MAE of the curve, image units",
    "curve_mae_percent_of_liver": "MAE of the curve, percent of the liver's intensity",
    "patient_auc_8": "mean AUC over the types, per patient",
}


def text(card: ModelCard) -> str:
    """The card as Markdown: what the model is for, its training, its figures and its limits."""
    return "\n".join(
        [
            f"# {card.name}",
            "",
            _summary(card),
            "",
            "## Training",
            "",
            *_training(card),
            "",
            "## Figures, on phantoms of unseen seeds",
            *(line for shown, record in card.figures.items() for line in _figures(shown, record)),
            "",
            "## Limits",
            "",
            *_limits(card),
            "",
        ]
    )


def _summary(card: ModelCard) -> str:
    config = card.input_config
    who = "" if config.species is Species.HUMAN else f" in {config.species}s"
    channels = ", ".join(map(channel_title, config.channels))
    says = [
        sentence
        for output, sentence in (
            (Output.ORGAN_MASK, "outlines the liver"),
            (Output.LESION_MASK, "outlines lesions"),
            (Output.LESION_TYPE, f"gives each lesion one of {len(config.types)} types"),
            (Output.TYPE_MAP, "maps the probability of each type"),
            (Output.CURVE, "regresses each lesion's enhancement curve"),
            (Output.CASE_CLASS, "classifies the study"),
            (Output.CASE_SCORE, "scores the study"),
        )
        if output in card.outputs
    ]
    return (
        f"A model of the family {card.family} for {config.modality} of the {config.body_part}{who}:"
        f" {channels}; any of them may be missing. It {_listed(says)}. Apache-2.0. Research use"
        " only; not for diagnosis or treatment."
    )


def _listed(items: Sequence[str]) -> str:
    return " and ".join([*([", ".join(items[:-1])] if len(items) > 1 else []), items[-1]])


def _training(card: ModelCard) -> list[str]:
    training, calibration = card.training, card.calibration
    recipe = training.get("recipe", {}).get("name", card.name)
    lesions = ", ".join(f"{n}: {count}" for n, count in calibration.lesions.items())
    minimum_peak = ", ".join(f"{n}: {peak:.3f}" for n, peak in calibration.minimum_peak.items())
    return [
        (
            f"- Data: {training.get('cases')} cases of the digital phantom, none of a patient."
            f" SHA-256 over their descriptions and truths: `{str(training.get('cohort'))[:16]}`."
        ),
        (
            f"- Recipe `recipes/{recipe}.toml`, {_seeds(card)}, {training.get('steps')} steps,"
            f" {training.get('precision')}, commit {training.get('commit')}, torch"
            f" {training.get('versions', {}).get('torch')}."
        ),
        (
            "- Probabilities were calibrated on phantom cases held back for that: temperature"
            f" {calibration.temperature:.2f}; lesions by number of phases: {lesions or 'none'}."
            " A lesion is reported where its probability somewhere reaches a peak fitted on the"
            f" same cases, by number of phases: {minimum_peak or 'none'}."
        ),
    ]


def _figures(shown: str, record: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| {NAMES.get(key, key.replace('_', ' '))} | {figure['mean']:.3f} | {figure['low']:.3f} to"
        f" {figure['high']:.3f} | {figure['n']} |"
        for key, figure in record["figures"].items()
    ]
    return [
        "",
        f"Scanned: {shown}; {record['cases']} cases; measured at commit {record['commit']}.",
        "",
        "| measure | mean | 95 % interval | n (subjects) |",
        "|---|---:|---|---:|",
        *rows,
    ]


def _limits(card: ModelCard) -> list[str]:
    config = card.input_config
    lines = [
        "- Phantom figures say little about patients: in our trials the phantom's own Dice"
        " predicted transfer to a real scan badly.",
    ]
    if Output.LESION_TYPE in card.outputs:
        lines.append(
            "- One phase alone leaves types open; a native phase alone makes even the lesions"
            " doubtful. The findings say so."
        )
    if Output.LESION_MASK in card.outputs:
        unused = "The hepatobiliary phase is not used. "
        if Phase.HEPATOBILIARY in config.phases:
            unused = ""
        lines.append(
            f"- {unused}Treated lesions, diffuse disease and types beyond the list are unknown to"
            " it."
        )
    if config.modality is Modality.MR:
        lines.append(
            "- Nine in ten of the phantom's MR studies are fat-suppressed: where fat is not, the"
            " liver may not be found at all."
        )
    return lines


def _seeds(card: ModelCard) -> str:
    if card.members == 1:
        return f"seed {card.training.get('recipe', {}).get('seed')}"
    return (
        f"the mean of {card.members} networks, seeds"
        f" {', '.join(map(str, card.training.get('seeds', ())))}"
    )
