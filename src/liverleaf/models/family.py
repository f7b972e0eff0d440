"""A model family: one published system, how it is configured, built, fed, trained and asked.

A new family is a module or a folder beside `mti_net/` that makes one `ModelFamily`, and a line in
`registry.FAMILIES`; `docs/new-model.md` walks through one. Nothing outside its own files asks which
family a model is of: they ask for its `Output`s.

Shape suffixes: B slices, P channels, T types, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from liverleaf.data.augmentation import SamplingConfig
from liverleaf.data.batch import BatchStream
from liverleaf.data.network_input import InputConfig
from liverleaf.data.prepared import PreparedCase
from liverleaf.models.optimisation import Optimisation

if TYPE_CHECKING:
    from liverleaf.models.predictor import Predictor
    from liverleaf.models.recipe import Recipe
    from liverleaf.models.trainer import Trainer


class Output(StrEnum):
    """What a model can say of a study."""

    ORGAN_MASK = "organ_mask"
    LESION_MASK = "lesion_mask"
    LESION_TYPE = "lesion_type"
    TYPE_MAP = "type_map"
    CURVE = "curve"
    CASE_CLASS = "case_class"
    CASE_SCORE = "case_score"


class SliceOutput(NamedTuple):
    """What a network says of whole slices; None for what it does not say.

    Attributes:
        mask_logits_BYX: logits of the lesion mask.
        curve_BP: mean lesion intensity per channel, z-scored by the training set.
        type_logits_BT: logits of the types.
    """

    mask_logits_BYX: Tensor | None = None
    curve_BP: Tensor | None = None
    type_logits_BT: Tensor | None = None


@dataclass(frozen=True)
class NoLossWeights:
    """The loss of a family whose terms have no weights to set."""


def no_defaults(_input: InputConfig, _loss: Any) -> Mapping[str, Any]:
    """A network none of whose settings follow from its input."""
    return {}


def any_recipe(_recipe: Recipe) -> None:
    """Refuse no recipe."""


@dataclass(frozen=True)
class ModelFamily:
    """One published system.

    Attributes:
        name: as recipes and model.json have it, as "mti-net".
        config: frozen dataclass that says what a network is made of: the recipe's table `network`.
        build: a network from its config, its weights drawn from torch's generator.
        batches: what it is fed: slices, patches, ...; a pure function of seed and step.
        trainer: its training: losses, optimisers, columns of the log.
        predictor: from a study to a `Prediction`.
        outputs: what a network with this config says, if it was trained with this loss.
        loss: frozen dataclass of its loss weights: the recipe's table `loss`.
        sampling: frozen dataclass of how batches are drawn: the recipe's table `sampling`.
        optimisation: frozen dataclass of how weights are stepped: the recipe's table
            `optimisation`.
        defaults: settings of the network that follow from its input and loss, as the number of
            channels; what a recipe says itself comes first.
        check: raises ValueError, in a sentence for the user, for a recipe that cannot work.
        ensemble: the mean of several networks of one config, None where they cannot be combined.
        infer_slices: asks a network of whole slices: images_BPYX, present_BP and the pixel's size
            in mm; None for a network that is not two-dimensional.
        example_input: arguments of the network's `forward` for one slice or patch, on which its
            cost is measured; None where nobody measures it.
    """

    name: str
    config: type[Any]
    build: Callable[[Any], nn.Module]
    batches: Callable[[Sequence[PreparedCase], Recipe], BatchStream]
    trainer: type[Trainer]
    predictor: type[Predictor]
    outputs: Callable[[Any, Any], frozenset[Output]]
    loss: type[Any] = NoLossWeights
    sampling: type[Any] = SamplingConfig
    optimisation: type[Optimisation] = Optimisation
    defaults: Callable[[InputConfig, Any], Mapping[str, Any]] = no_defaults
    check: Callable[[Recipe], None] = any_recipe
    ensemble: Callable[[Sequence[Any]], nn.Module] | None = None
    infer_slices: Callable[[nn.Module, Tensor, Tensor, float], SliceOutput] | None = None
    example_input: Callable[[Recipe], tuple[Any, ...]] | None = None
