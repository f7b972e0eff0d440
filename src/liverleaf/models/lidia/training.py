"""Training of LIDIA: queries matched with lesions and liver, its loss, and a step of it.

Shape suffixes: B samples, P phases, Q queries, C classes with "nothing" last, K true masks, N
points, L lesions, E width of an embedding, Z slices, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor

from liverleaf.data.patches import PatchBatch
from liverleaf.data.prepared import PreparedCase
from liverleaf.models.lidia import losses
from liverleaf.models.lidia.contrast import MemoryBank, asymmetric_contrast
from liverleaf.models.lidia.decoder import QueryOutput, mask_logits
from liverleaf.models.lidia.matching import MatchingCost, cost_matrix, match
from liverleaf.models.lidia.network import LIVER, LidiaOutput
from liverleaf.models.lidia.points import PointSampling, anywhere, draw_points, sample
from liverleaf.models.lidia.sharpness import SharpnessAware
from liverleaf.models.optimisation import Optimisation
from liverleaf.models.recipe import Recipe
from liverleaf.models.trainer import Trainer
from liverleaf.terminology import LesionType


@dataclass(frozen=True)
class LidiaLoss:
    """Weights and settings of LIDIA's loss; a term of weight 0 is not computed (the ablations).

    Attributes:
        mask: of cross-entropy plus Dice of the masks, on points (Eq. 6, lambda 1).
        type: of the focal loss of the classes (lambda 2).
        contrast: of the asymmetric contrastive loss (lambda 3).
        semantic: of cross-entropy plus Dice of the voxels' classes.
        gamma: of the focal loss; 0 makes it a cross-entropy.
        nothing: weight of the class "nothing" in it, in (0, 1].
        temperature: of the contrastive loss, above 0.
        bank: how many lesions it remembers, at least 1.
        points: per mask, where its loss is computed.
        oversample: times as many are drawn, of which the most uncertain are kept.
        uncertain: share of the points that are drawn so.
        foreground: share of the points that are drawn inside the true mask.
        match_type, match_cross_entropy, match_dice: weights of the cost of matching.
    """

    mask: float = 5.0
    type: float = 5.0
    contrast: float = 0.01
    semantic: float = 0.0
    gamma: float = 2.0
    nothing: float = 0.1
    temperature: float = 0.1
    bank: int = 1024
    points: int = 12544
    oversample: float = 3.0
    uncertain: float = 0.5
    foreground: float = 0.25
    match_type: float = 2.0
    match_cross_entropy: float = 5.0
    match_dice: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.nothing <= 1 or self.temperature <= 0 or self.bank < 1:
            raise ValueError(
                "nothing lies in (0, 1], temperature is above 0 and bank at least 1, got"
                f" {self.nothing}, {self.temperature} and {self.bank}"
            )
        _ = self.point_sampling

    @property
    def point_sampling(self) -> PointSampling:
        """Where the loss of a mask is computed."""
        return PointSampling(self.points, self.oversample, self.uncertain, self.foreground)

    @property
    def matching(self) -> MatchingCost:
        """What a match costs."""
        return MatchingCost(self.match_type, self.match_cross_entropy, self.match_dice)


@dataclass(frozen=True)
class LidiaOptimisation(Optimisation):
    """Settings of RAdam, of sharpness-aware minimisation and of the run.

    Attributes:
        weight_decay: of RAdam.
        power: the rate falls as (1 - step / steps) ** power after the warm-up, unless `cosine`.
        clip: largest norm of the gradients, above 0.
        rho: how far sharpness-aware minimisation climbs; 0 for none, which takes half the time.
        rho_from: share of the training after which it climbs, in [0, 1].
    """

    weight_decay: float = 1e-4
    power: float = 0.9
    clip: float = 12.0
    rho: float = 0.05
    rho_from: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rho < 0 or not 0 <= self.rho_from <= 1 or self.clip <= 0:
            raise ValueError(
                "rho is at least 0, rho_from lies in [0, 1] and clip is above 0, got"
                f" {self.rho}, {self.rho_from} and {self.clip}"
            )


class TrueMasks(NamedTuple):
    """What is to be found in one patch.

    Attributes:
        masks_KZYX: the liver outside its lesions, where there is any, and each lesion; 0 or 1.
        classes_K: their classes, -1 for a lesion that nobody typed.
        complete: whether all that is there is among them; otherwise only the liver is.
    """

    masks_KZYX: Tensor
    classes_K: Tensor
    complete: bool


class ForwardPass(NamedTuple):
    """What a forward pass gives.

    Attributes:
        loss: the weighted sum of the terms.
        terms: the terms of the loss by name, unweighted; "mask" and "type" are means over the
            layers' sums.
        embeddings_LE: of the matched lesions of known type.
        types_L: their types.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    embeddings_LE: Tensor
    types_L: Tensor


class LidiaTrainer(Trainer):
    """LIDIA with the bank of its contrastive loss."""

    columns = ("mask", "type", "contrast", "semantic")

    def __init__(
        self, fabric: Fabric, recipe: Recipe, cases: Sequence[PreparedCase], total: int
    ) -> None:
        super().__init__(fabric, recipe, cases, total)
        self.bank = MemoryBank(recipe.loss.bank, recipe.network.embedding).to(fabric.device)
        self.parts["bank"] = self.bank
        types = recipe.input.types
        self.rare = types.index(LesionType.OTHER) if LesionType.OTHER in types else None

    @property
    def rates(self) -> LidiaOptimisation:
        """How weights are stepped."""
        rates = self.recipe.optimisation
        assert isinstance(rates, LidiaOptimisation)
        return rates

    def build_optimiser(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """RAdam."""
        rates = self.rates
        return torch.optim.RAdam(
            groups, lr=rates.learning_rate, weight_decay=rates.weight_decay, foreach=True
        )

    def forward(self, batch: PatchBatch) -> ForwardPass:
        """The loss of a batch."""
        weights = self.recipe.loss
        output: LidiaOutput = self.network(batch.images_BPZYX, batch.present_BP)
        device = batch.images_BPZYX.device
        terms: dict[str, Tensor] = {}
        embeddings_LE = torch.zeros(0, self.recipe.network.embedding, device=device)
        types_L = torch.zeros(0, dtype=torch.int64, device=device)
        if output.layers:
            truths = [true_masks(batch, index) for index in range(len(batch.images_BPZYX))]
            terms, pairs = self._query_terms(output, truths)
            if weights.contrast:
                embeddings_LE, types_L = _matched_lesions(output, truths, pairs)
                terms["contrast"] = asymmetric_contrast(
                    embeddings_LE,
                    types_L,
                    self.bank.embeddings_ME,
                    self.bank.types_M,
                    rare=self.rare,
                    temperature=weights.temperature,
                )
        if output.semantic_logits_BSZYX is not None and weights.semantic:
            truth_BZYX = true_classes(batch)
            terms["semantic"] = losses.semantic_loss(output.semantic_logits_BSZYX, truth_BZYX)
        loss = torch.zeros((), device=device)
        for name, term in terms.items():
            loss = loss + getattr(weights, name) * term
        return ForwardPass(loss, terms, embeddings_LE, types_L)

    def _query_terms(
        self, output: LidiaOutput, truths: Sequence[TrueMasks]
    ) -> tuple[dict[str, Tensor], list[tuple[Tensor, Tensor]]]:
        """Mask and type terms summed over the layers, and the pairs of the last."""
        mask = torch.zeros((), device=output.finest_BDZYX.device)
        kind = torch.zeros_like(mask)
        pairs: list[tuple[Tensor, Tensor]] = []
        for layer in output.layers:
            pairs = [
                self._pairs(layer, output.finest_BDZYX, index, truth)
                for index, truth in enumerate(truths)
            ]
            mask = mask + self._mask_loss(layer, output.finest_BDZYX, truths, pairs)
            kind = kind + self._type_loss(layer, truths, pairs)
        return {"mask": mask, "type": kind}, pairs

    def _pairs(
        self, layer: QueryOutput, finest_BDZYX: Tensor, index: int, truth: TrueMasks
    ) -> tuple[Tensor, Tensor]:
        """Queries and the true masks that they answer for, in one sample."""
        if not len(truth.classes_K):
            return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
        points = anywhere(1, self.recipe.loss.points).to(finest_BDZYX.device)
        # linear both: features at points make the masks at points
        features_DN = sample(finest_BDZYX[index].detach().float(), points)
        cost = cost_matrix(
            layer.class_logits_BQC[index],
            layer.masks_BQD[index].detach().float() @ features_DN,
            truth.classes_K,
            sample(truth.masks_KZYX, points),
            self.recipe.loss.matching,
        )
        return match(cost)

    def _mask_loss(
        self,
        layer: QueryOutput,
        finest_BDZYX: Tensor,
        truths: Sequence[TrueMasks],
        pairs: Sequence[tuple[Tensor, Tensor]],
    ) -> Tensor:
        logits, truth = [], []
        for index, (queries, masks) in enumerate(pairs):
            if not len(queries):
                continue
            logits_KZYX = mask_logits(layer.masks_BQD[index][queries], finest_BDZYX[index])
            truth_KZYX = truths[index].masks_KZYX[masks]
            points = draw_points(logits_KZYX, truth_KZYX, self.recipe.loss.point_sampling)
            logits.append(sample(logits_KZYX, points))
            truth.append(sample(truth_KZYX, points))
        if not logits:
            return layer.masks_BQD.sum() * 0
        logits_KN, truth_KN = torch.cat(logits), torch.cat(truth)
        return losses.point_cross_entropy(logits_KN, truth_KN) + losses.point_dice(
            logits_KN, truth_KN
        )

    def _type_loss(
        self,
        layer: QueryOutput,
        truths: Sequence[TrueMasks],
        pairs: Sequence[tuple[Tensor, Tensor]],
    ) -> Tensor:
        logits_BQC = layer.class_logits_BQC
        nothing = logits_BQC.shape[-1] - 1
        classes_BQ = torch.full(logits_BQC.shape[:2], nothing, device=logits_BQC.device)
        for index, (queries, masks) in enumerate(pairs):
            if not truths[index].complete:  # what else is there is not known
                classes_BQ[index] = losses.UNKNOWN
            classes_BQ[index, queries] = truths[index].classes_K[masks]
        weights = self.recipe.loss
        return losses.focal(
            logits_BQC.flatten(0, 1),
            classes_BQ.flatten(),
            gamma=weights.gamma,
            nothing=weights.nothing,
        )

    def _step(self, batch: PatchBatch) -> dict[str, Tensor]:
        drawn = torch.get_rng_state()

        def backward() -> ForwardPass:
            torch.set_rng_state(drawn)  # both passes see the same points
            passed = self.forward(batch)
            self.fabric.backward(passed.loss)
            return passed

        passed = self._descend_by(backward)
        self.bank.add(passed.embeddings_LE, passed.types_L)
        terms = {name: term.detach() for name, term in passed.terms.items()}
        return terms | {"loss": passed.loss.detach()}

    def _descend_by(self, backward: Callable[[], ForwardPass]) -> ForwardPass:
        rates = self.rates
        if rates.rho and self.progress >= rates.rho_from:
            return SharpnessAware(self.optimiser, rates.rho).step(
                backward, loss_scale=self._loss_scale(), before_descent=self._clip
            )
        self.optimiser.zero_grad()
        passed = backward()
        self._clip()
        self.optimiser.step()
        return passed

    def _clip(self) -> None:
        self.fabric.clip_gradients(self.network, self.optimiser, max_norm=self.rates.clip)

    def _loss_scale(self) -> float:
        """What gradients are multiplied by in mixed precision; 1 but in float16."""
        scaler = getattr(self.fabric._precision, "scaler", None)
        return 1.0 if scaler is None else float(scaler.get_scale())

    def _share_of_peak(self, step: int) -> float:
        rates = self.rates
        if rates.cosine:
            return super()._share_of_peak(step)
        if step < rates.warmup:
            return (step + 1) / rates.warmup
        done = (step - rates.warmup) / max(1, self.total - rates.warmup)
        return float((1 - done) ** rates.power)


def true_masks(batch: PatchBatch, index: int) -> TrueMasks:
    """What is to be found in one patch of a batch."""
    liver_ZYX, lesions_ZYX = batch.liver_BZYX[index], batch.lesions_BZYX[index]
    masks, classes = [], []
    parenchyma = liver_ZYX & (lesions_ZYX == 0)
    if parenchyma.any():
        masks.append(parenchyma)
        classes.append(LIVER)
    complete = bool(batch.normalised_B[index])
    if complete:
        labels, types = batch.labels[index].tolist(), batch.types[index].tolist()
        for label, kind in zip(labels, types, strict=True):
            masks.append(lesions_ZYX == label)
            classes.append(kind + 1 if kind >= 0 else losses.UNKNOWN)
    shape = (0, *liver_ZYX.shape)
    return TrueMasks(
        torch.stack(masks).float() if masks else torch.zeros(shape, device=liver_ZYX.device),
        torch.tensor(classes, dtype=torch.int64, device=liver_ZYX.device),
        complete,
    )


def true_classes(batch: PatchBatch) -> Tensor:
    """The class of every voxel, (B, Z, Y, X) int64: 0 background, 1 liver, 2 + type, -1 unknown.

    Lesions that nobody typed are unknown, and so are all in a patch that is wrongly normalised.
    """
    truth_BZYX = batch.liver_BZYX.long()
    truth_BZYX[batch.lesions_BZYX > 0] = losses.UNKNOWN
    for index, (labels, types) in enumerate(zip(batch.labels, batch.types, strict=True)):
        if not batch.normalised_B[index]:
            continue
        for label, kind in zip(labels.tolist(), types.tolist(), strict=True):
            if kind >= 0:
                truth_BZYX[index][batch.lesions_BZYX[index] == label] = kind + 2
    return truth_BZYX


def _matched_lesions(
    output: LidiaOutput, truths: Sequence[TrueMasks], pairs: Sequence[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Embeddings and types of the queries that answer for lesions of known type."""
    assert output.embeddings_BQE is not None
    embeddings, types = [], []
    for index, (queries, masks) in enumerate(pairs):
        classes = truths[index].classes_K[masks.to(truths[index].classes_K.device)]
        lesion = classes > LIVER
        embeddings.append(output.embeddings_BQE[index][queries.to(lesion.device)[lesion]])
        types.append(classes[lesion] - 1)
    return torch.cat(embeddings), torch.cat(types)
