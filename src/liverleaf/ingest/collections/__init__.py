"""Public collections of liver studies, by name, and the list of their cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from liverleaf.ingest.collections.amplifai import amplifai
from liverleaf.ingest.collections.case import CollectionCase
from liverleaf.ingest.collections.chaos import chaos
from liverleaf.ingest.collections.cirrmri import cirrmri
from liverleaf.ingest.collections.hcc_tace_seg import hcc_tace_seg
from liverleaf.ingest.collections.labelled_volumes import ATLAS, LITS, TASK03, labelled_volumes
from liverleaf.ingest.collections.liqa import liqa
from liverleaf.ingest.collections.liverhccseg import liverhccseg
from liverleaf.ingest.collections.lld_mmri import lld_mmri
from liverleaf.ingest.collections.mct_ltdiag import mct_ltdiag
from liverleaf.ingest.collections.nnunet import nnunet
from liverleaf.ingest.collections.openswisshcc import openswisshcc
from liverleaf.ingest.collections.waw_tace import waw_tace
from liverleaf.study import InputError

__all__ = ["COLLECTIONS", "CollectionCase", "cases_of"]

COLLECTIONS: dict[str, Callable[[Path], Iterator[CollectionCase]]] = {
    "amplifai": amplifai,
    "atlas": partial(labelled_volumes, ATLAS),
    "chaos": chaos,
    "cirrmri600": cirrmri,
    "hcc-tace-seg": hcc_tace_seg,
    "liqa": liqa,
    "lits": partial(labelled_volumes, LITS),
    "liverhccseg": liverhccseg,
    "lld-mmri": lld_mmri,
    "mct-ltdiag": mct_ltdiag,
    "msd-task03": partial(labelled_volumes, TASK03),
    "nnunet": nnunet,
    "openswisshcc": openswisshcc,
    "waw-tace": waw_tace,
}
"""What lists the cases below a folder, by the collection's name."""


def cases_of(collection: str, folder: Path) -> Iterator[CollectionCase]:
    """List the studies of a collection without reading them.

    A second one with the ids of another is refused.

    Args:
        collection: a key of `COLLECTIONS`.
        folder: where its files lie unpacked, as they were downloaded.

    Raises:
        InputError: there is no such collection or folder, or the folder is ordered in another way.
    """
    if collection not in COLLECTIONS:
        raise InputError(
            f"{collection!r} is no collection that can be read; give one of"
            f" {', '.join(COLLECTIONS)}"
        )
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the unpacked collection")
    seen: set[str] = set()
    for found in COLLECTIONS[collection](folder.resolve()):
        if found.case_id in seen:
            yield replace(
                found,
                case_id=f"{found.case_id}-again",
                refused="another study has its ids; give one copy of the collection",
            )
        else:
            seen.add(found.case_id)
            yield found
