"""Draw one simulated study with its true lesions outlined.

python examples/look_at_a_phantom.py --modality MR --seed 1 --out phantom.png
"""

import argparse

import numpy as np
from matplotlib.figure import Figure

from liverleaf.phantom.generator import Phantom

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--modality", choices=["CT", "MR"], default="MR")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--size", type=int, default=160, help="rows and columns")
parser.add_argument("--out", default="phantom.png")
wanted = parser.parse_args()
mm = 352 / wanted.size
study, truth = Phantom(
    wanted.modality, wanted.seed, shape=(40, wanted.size, wanted.size), spacing_mm=(5.0, mm, mm)
)[0]
z = int((truth.lesions.array > 0).sum((1, 2)).argmax())  # the slice that shows most lesion
figure = Figure(figsize=(4 * len(study.phases), 4), layout="constrained")
for axes, (phase, image) in zip(
    figure.subplots(1, len(study.phases)), study.phases.items(), strict=True
):
    axes.imshow(
        np.clip(image.volume.array[z], *np.percentile(image.volume.array[z], [40, 99.5])), "gray"
    )
    axes.contour(truth.lesions.array[z] > 0, levels=[0.5], colors="#ff4d4d", linewidths=0.8)
    axes.set(title=f"{phase.title}, {image.time_s:.0f} s", xticks=[], yticks=[])
figure.savefig(wanted.out)
print(
    f"{wanted.out}: slice {z}, lesions:"
    f" {', '.join(lesion.type.title for lesion in truth.lesion_list) or 'none'}"
)
