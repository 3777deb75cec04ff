"""Every sentence with which the service speaks to a clinician: what was found, and what to keep in mind about it.

The page adds its own in `web/messages.js`; errors are worded where they arise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from serving.decision import FRACTURED, NORMAL, SUSPICIOUS, Suspicion

STATEMENTS: Mapping[tuple[str, Suspicion], str] = {
    (NORMAL, "none"): "No sign of a fracture was found.",
    (NORMAL, "possible"): "A fracture is unlikely, but cannot be excluded. Look closely.",
    (SUSPICIOUS, "high"): (
        "The probability is below the threshold, yet higher than in most normal images. Look closely."
    ),
    (FRACTURED, "possible"): "There are signs of a fracture, but some normal images show as many. Look closely.",
    (FRACTURED, "high"): "A fracture is likely.",
}
"""What a reader is told, for every combination of label and suspicion that occurs (`Decision.suspicion`)."""
NONE_IN_PART = "No sign of a fracture was found in the part of the image that is there."
"""The statement of suspicion none for a file that is cut short."""
WARNINGS: Mapping[str, str] = {
    "synthetic_model": "The model was trained on synthetic pictures; its answer says nothing about a patient.",
    "out_of_scope": "{reason}. Its answer is for research only.",
    "for_processing": "The pixels are meant for processing, not for presentation; export the image as it is shown.",
    "truncated": "The file is cut short; the missing part of the image was not seen.",
    "first_frame": "The file holds several frames; only the first one was read.",
    "inverted": "The image looks inverted (bone black on white); it was read with bone white.",
    "turned": "The image looks turned; it was read after turning it by {turn}.",
    "several_images": (
        "The picture seems to hold several radiographs side by side, and there is one answer for all of them. "
        "Open them one by one."
    ),
    "noisy": "The image is noisy; it was smoothed before the model saw it.",
    "low_resolution": "The image is smaller than the {size} pixels that the model sees.",
    "unusual": "The image is unlike most of the radiographs that the model was trained on.",
    "out_of_range": "{what} unlike any radiograph the model learned from; read the answer with care.",
    "region_differs": "Stated as {stated}, but the image looks like {seen} ({percent} %).",
    "unknown_region": "The image seems to show none of the regions that the model knows ({known}).",
    "weak_region": "The model is not shown to be good for this region ({region}): {reason}.",
}
"""Text of each warning by its code, and every code there is; words in braces are filled in for the image."""
FEW_FRACTURED = "only {fractured} of the {images} test images of it show a fracture"
FEW_NORMAL = "only {normal} of the {images} test images of it show no fracture"
WEAK = "the metrics on its test images are low or uncertain"
"""Reasons of `weak_region`."""
SEEN = ", as the image looks"
"""Added to the region of `weak_region` where another one is stated."""
OUTSIDE: Mapping[str, str] = {
    "mean": "brightness",
    "contrast": "contrast",
    "dark": "share of black",
    "bright": "share of white",
    "sharpness": "sharpness",
}
"""What `out_of_range` calls each of `statistics.INPUTS` that it tells of."""
IS_IT_INVERTED = " Is it inverted?"
"""Added to `out_of_range` where the image is brighter than any that the model was trained on."""


@dataclass(frozen=True)
class Note:
    """Something a reader of the answer should know; `code` is stable, `detail` holds the numbers behind it."""

    code: str
    message: str
    detail: str = ""

    @classmethod
    def of(cls, code: str, detail: str = "", **facts: object) -> "Note":
        """The warning of this code, with what the image itself adds to it."""
        return cls(code, WARNINGS[code].format(**facts), detail)

    def answer(self) -> dict[str, str]:
        """For JSON."""
        return {"code": self.code, "message": self.message, **({"detail": self.detail} if self.detail else {})}


def no_fracture(readable: int, unreadable: int, *, incomplete: bool) -> str:
    """That no fracture was found, in how many views, and how many could not be read.

    `readable` is at least 1; `incomplete` says that at least one of them was cut short.
    """
    cut_short = (", incomplete" if readable == 1 else ", at least one incomplete") if incomplete else ""
    found = f"{_views(readable, 'readable view')}{cut_short}: no fracture found."
    return f"{found} {_views(unreadable, 'view')} could not be read." if unreadable else found


def _views(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
