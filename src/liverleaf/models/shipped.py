"""The models that come with the package, which of them is for which study, and where a model is."""

from __future__ import annotations

from pathlib import Path

from liverleaf.models.upgrade import MODEL_NAMES
from liverleaf.study import BodyPart, InputError, Modality, Species, Study

SHIPPED = Path(__file__).parent / "weights"
DEFAULT_MODELS = {
    (Species.HUMAN, BodyPart.ABDOMEN, Modality.CT): "liverleaf-net-ct",
    (Species.HUMAN, BodyPart.ABDOMEN, Modality.MR): "liverleaf-net-mr",
}
"""Who is scanned, where and how, and the model that is for them."""


def default_model(study: Study) -> str:
    """The shipped model for a study.

    Raises:
        InputError: none is for it.
    """
    wanted = (study.species, study.body_part, study.modality)
    if wanted not in DEFAULT_MODELS:
        raise InputError(
            f"no model ships for {_described(*wanted)}: there is one for"
            f" {' and one for '.join(_described(*known) for known in DEFAULT_MODELS)}; choose a"
            " model by --model"
        )
    return DEFAULT_MODELS[wanted]


def _described(species: Species, body_part: BodyPart, modality: Modality) -> str:
    return f"{modality} of the {species} {body_part}"


def find_model(name: str | Path) -> Path:
    """The folder of a model: a shipped one by name, or any by path.

    A training run holds its model in `model/`. Names of version 0.1 are understood.

    Raises:
        InputError: there is none.
    """
    shipped = MODEL_NAMES.get(str(name), str(name))
    for directory in (SHIPPED / shipped, Path(name)):
        if found := model_in(directory):
            return found
    if (Path(name) / "run.json").is_file():
        raise InputError(
            f"the training run {name} is not finished: go on with it (liverleaf train ... --resume)"
        )
    raise InputError(
        f"no model {name}: shipped are {', '.join(shipped_models()) or 'none'}; or give the folder"
        " of a training run"
    )


def model_in(directory: Path) -> Path | None:
    """The folder itself or, of a training run, `model/` in it; None where neither is a model."""
    return next(
        (
            folder
            for folder in (directory, directory / "model")
            if (folder / "model.json").is_file()
        ),
        None,
    )


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/model.json"))
