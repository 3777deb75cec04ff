"""Where a confirmed image goes: to training, to those that judge, or nowhere. No group is ever on two sides."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from enum import StrEnum

HELD_BACK_SHARE = 0.3
"""Of each site's patients."""


class Place(StrEnum):
    """Where an image is or goes."""

    test = "test set"
    training = "training"
    held_back = "held back"
    relative_of_test = "related to the test set"
    both_sides = "related to both sides"


def is_held_back(key: str, site: str, patient: str) -> bool:
    """Whether a patient's images judge: HMAC-SHA-256 of site and patient below a share, so the same for ever."""
    digest = hmac.new(key.encode(), f"hold back\0{site}\0{patient}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8]) < HELD_BACK_SHARE * 2**64


def place(groups: Mapping[str, str], known: Mapping[str, Place], drawn: Mapping[str, bool]) -> dict[str, Place]:
    """Place of each new image.

    `groups` names the group of every image_id, `known` the place of those that have one, `drawn` tells of each new one
    whether the hash holds its patient back. A group with an image of the test set is left out. One that the hash or
    an earlier image holds back is held back whole, unless a member was trained on: then it is left out.
    """
    members: dict[str, list[str]] = {}
    for image_id, group in groups.items():
        members.setdefault(group, []).append(image_id)
    placed: dict[str, Place] = {}
    for ids in members.values():
        chosen = _of_group({known[one] for one in ids if one in known}, any(drawn.get(one, False) for one in ids))
        placed.update({one: chosen for one in ids if one in drawn})
    return placed


def _of_group(there: set[Place], held: bool) -> Place:
    if Place.test in there:
        return Place.relative_of_test
    judges, trains = held or Place.held_back in there, Place.training in there
    if judges and trains:
        return Place.both_sides
    return Place.held_back if judges else Place.training


def counted(placed: Mapping[str, Place], sites: Mapping[str, str]) -> Sequence[tuple[str, dict[Place, int]]]:
    """How many images of each site went where, by site."""
    counts: dict[str, dict[Place, int]] = {}
    for image_id, chosen in placed.items():
        of_site = counts.setdefault(sites[image_id], {})
        of_site[chosen] = of_site.get(chosen, 0) + 1
    return sorted(counts.items())
