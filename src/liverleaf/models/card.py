"""A model's description in, the page that people read before they trust it out."""

from __future__ import annotations

from liverleaf.models.checkpoint import ModelCard
from liverleaf.study import Modality

NAMES = {
    "liver_dice": "Dice of the liver",
    "lesion_dice": "Dice of the lesions, cases with a lesion",
    "lesion_iou": "IoU of the lesions, cases with a lesion",
    "lesion_sensitivity": "sensitivity, lesions of at least 113 mm3",
    "lesion_precision": "precision of the found lesions",
    "type_accuracy": "accuracy of the type, found lesions",
    "type_set_coverage": "share of 90 % sets that hold the true type",
    "type_set_size": "types in a 90 % set",
    "curve_mae": "MAE of the curve, image units",
    "curve_mae_percent_of_liver": "MAE of the curve, percent of the liver's intensity",
    "patient_auc_8": "mean AUC over the types, per patient",
}


def text(card: ModelCard) -> str:
    """The card as Markdown: what the model is, what it was trained on, how good it is and what it must not be used for."""
    training, view = card.training, card.input_config
    phases = ", ".join(phase.title for phase in view.phases)
    lines = [
        f"# {card.name}",
        "",
        (
            f"An MTI-Net for {view.modality}: {phases}; any of them may be missing. It outlines the"
            f" liver and its lesions, and gives each one of {len(view.types)} types and its"
            " enhancement curve. Apache-2.0. Research use only; not for diagnosis or treatment."
        ),
        "",
        "## Training",
        "",
        (
            f"- Data: {training.get('cases')} cases of the digital phantom, none of a patient."
            f" SHA-256 over their descriptions and truths: `{str(training.get('cohort'))[:16]}`."
        ),
        (
            f"- Recipe `recipes/{card.name}.toml`, {_seeds(card)}, {training.get('steps')} steps,"
            f" {training.get('precision')}, commit {training.get('commit')}, torch"
            f" {training.get('versions', {}).get('torch')}."
        ),
        (
            "- Probabilities were calibrated on phantom cases held back for that: temperature"
            f" {card.calibrated.temperature:.2f}; lesions by "
            "number of phases:"
            f" {', '.join(f'{n}: {count}' for n, count in card.calibrated.lesions.items()) or 'none'}."
            " A lesion is reported "
            "where its probability somewhere reaches a peak fitted on the same cases, by number of"
            " phases: "
            f"{', '.join(f'{n}: {peak:.3f}' for n, peak in card.calibrated.minimum_peak.items()) or 'none'}."
        ),
        "",
        "## Figures, on phantoms of unseen seeds",
    ]
    for shown, record in card.figures.items():
        lines += [
            "",
            f"Scanned: {shown}; {record['cases']} cases; measured at commit {record['commit']}.",
            "",
        ]
        lines += ["| measure | mean | 95 % interval | n (subjects) |", "|---|---:|---|---:|"]
        for key, figure in record["figures"].items():
            name = NAMES.get(key, key.replace("_", " "))
            lines.append(
                f"| {name} | {figure['mean']:.3f} | {figure['low']:.3f} to {figure['high']:.3f} |"
                f" {figure['n']} |"
            )
    lines += [
        "",
        "## Limits",
        "",
        (
            "- Phantom figures say little about patients: in our trials the phantom's own Dice"
            " predicted transfer to a real scan badly."
        ),
        (
            "- One phase alone leaves types open; a native phase alone makes even the lesions"
            " doubtful. The findings say so."
        ),
        (
            "- The hepatobiliary phase is not looked at. Treated lesions, diffuse disease and types"
            " beyond the list are unknown to it."
        ),
    ]
    if view.modality is Modality.MR:
        lines.append(
            "- Nine in ten of the phantom's MR studies are fat-suppressed: where fat is not, the"
            " liver may not be found at all."
        )
    return "\n".join([*lines, ""])


def _seeds(card: ModelCard) -> str:
    if card.members == 1:
        return f"seed {card.training.get('recipe', {}).get('seed')}"
    return (
        f"the mean of {card.members} networks, seeds"
        f" {', '.join(map(str, card.training.get('seeds', ())))}"
    )
