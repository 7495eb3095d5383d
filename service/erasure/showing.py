"""A stored erasure as its report, as far as a key may see."""

from collections import Counter

from core.domain import ids
from core.domain.keys import Key
from core.storage.models import Erasure
from service.erasure.schemas import ErasureOut, PartOut


def show(erasure: Erasure, key: Key) -> ErasureOut:
    parts = [part for part in erasure.parts if key.sees(part["agent"])]
    removed: Counter[str] = Counter()
    for part in parts:
        removed.update(part["removed"])
    sentences = [sentence for part in parts for sentence in part["beyond_reach"]]
    return ErasureOut(
        erasure_id=ids.public(ids.Prefix.ERASURE, erasure.id),
        subject=erasure.subject,
        by=erasure.by,
        erased_at=erasure.erased_at,
        removed=removed,
        agents=[PartOut.model_validate(part) for part in parts],
        beyond_reach=list(dict.fromkeys(sentences)),
    )
