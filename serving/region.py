"""The region of an image: what is stated of it, what it looks like, and what a reader should know of either."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from serving.wording import FEW_FRACTURED, FEW_NORMAL, SEEN, WEAK, Note

DIFFERS_BELOW, SURE_FROM = 0.05, 0.9
"""An image looks like another region than stated where the stated one has less than the first, another the second.

Chosen on the released model's validation images; `docs/serving.md` says what they give.
"""
SEVERAL_FROM = 0.8
"""An image shows several regions where each of them has at least this probability; chosen as those above."""
FEWEST = 30
"""With fewer fractured or fewer normal test images than this, the metrics of a region or view say little."""
_FIGURES = re.compile(r"(\d+) fractured of (\d+)")


@dataclass(frozen=True)
class Region:
    """The region of an image: as its sender or its header says, else what it seems to show.

    `probability` is what the network says of that region, None where it knows none. `known` is False where the image
    looks like none of the regions that the network knows. `looks_like` is the region, with its probability, that would
    be answered if none were stated, where that is another one. `also` are further regions, with their probabilities,
    that the image shows beside this one, the likeliest first.
    """

    name: str
    source: Literal["caller", "header", "image"]
    probability: float | None
    known: bool = True
    looks_like: tuple[str, float] | None = None
    also: tuple[tuple[str, float], ...] = ()

    @property
    def differs(self) -> bool:
        """Whether the image shows for sure another region than the stated one."""
        if self.probability is None or self.looks_like is None:
            return False
        return self.probability < DIFFERS_BELOW and self.looks_like[1] >= SURE_FROM

    def answer(self) -> dict[str, Any]:
        """For JSON."""
        share = None if self.probability is None else round(self.probability, 6)
        told: dict[str, Any] = {"name": self.name, "source": self.source, "probability": share}
        if self.also:
            told["also"] = [{"name": name, "probability": round(value, 6)} for name, value in self.also]
        return told


def find(
    shares: Mapping[str, float], likely: float, intended: Collection[str], *, caller: str, header: str
) -> Region | None:
    """The region that the caller names, else the header, if the model knows it; else the likeliest one.

    `shares` is the network's probability of each region that it knows, `likely` the least of a region that is shown;
    without shares and without a stated region there is None.
    """
    likeliest = max(shares, key=shares.__getitem__, default="")
    shown = not shares or shares[likeliest] >= likely
    looks_like = (likeliest, shares[likeliest]) if shares and shown else None
    stated: tuple[tuple[str, Literal["caller", "header"]], ...] = ((caller, "caller"), (header, "header"))
    for name, source in stated:
        if name in shares or name in intended:
            # The network cannot say that an image shows none, where it does not know the stated region.
            known = shown or name not in shares
            other = None if name == likeliest else looks_like
            return Region(name, source, shares.get(name), known, other, _beside(name, shares))
    return Region(likeliest, "image", shares[likeliest], shown, None, _beside(likeliest, shares)) if shares else None


def _beside(name: str, shares: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """The further regions of an image that shows this one and others for sure."""
    if shares.get(name, 0) < SEVERAL_FROM:
        return ()
    others = [(other, share) for other, share in shares.items() if other != name and share >= SEVERAL_FROM]
    return tuple(sorted(others, key=lambda pair: -pair[1]))


def notes(region: Region | None, intended: Collection[str], weak: Mapping[str, str]) -> list[Note]:
    """That the image looks like another region than stated, or like none, or that the model may be bad for it.

    `weak` holds the regions for which the test set does not show the model to be good, with their figures.
    """
    if region is None:
        return []
    found = []
    if region.differs and region.looks_like:
        name, share = region.looks_like
        percent = min(99, round(100 * share))  # certainty is never claimed
        article = "an" if name[:1] in "aeiou" else "a"
        found.append(Note.of("region_differs", stated=region.name, seen=f"{article} {name}", percent=percent))
    if not region.known:
        found.append(Note.of("unknown_region", known=", ".join(intended)))
        if region.source == "image":
            return found
    if region.name in weak:
        found.append(_weak(region.name, weak[region.name]))
    if region.looks_like and region.looks_like[0] in weak:  # what is stated hides no warning that the image would get
        name, _ = region.looks_like
        found.append(_weak(name, weak[name], SEEN))
    for name, _ in region.also:
        if name in weak and (region.looks_like is None or name != region.looks_like[0]):
            found.append(_weak(name, weak[name], SEEN))
    return found


def _weak(name: str, figures: str, seen: str = "") -> Note:
    reason = WEAK
    if counts := _FIGURES.match(figures):
        fractured, images = map(int, counts.groups())
        normal = images - fractured
        if min(fractured, normal) < FEWEST:
            few = FEW_FRACTURED if fractured <= normal else FEW_NORMAL
            reason = few.format(fractured=fractured, normal=normal, images=images)
    return Note.of("weak_region", f"Test images of {name}: {figures}", region=f"{name}{seen}", reason=reason)
