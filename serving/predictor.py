"""Bundle and pixels to a prediction: network, calibration, operating points and guard."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from serving import guard, intake, saliency
from serving import region as regions
from serving.bundle import Bundle
from serving.decision import Suspicion
from serving.imaging import decode, gutter, model_input
from serving.imaging.canonical.polarity import INVERTED
from serving.imaging.canvas import Pixels, Placement
from serving.imaging.decode import Decoded
from serving.imaging.model_input import ModelInput
from serving.network import EMBEDDING, FEATURES, MAP, SCORES, Network, Outputs
from serving.region import Region
from serving.saliency import Map
from serving.statistics import INPUT_MEANINGS, INPUTS, input_statistics, stated, texture
from serving.wording import IS_IT_INVERTED, NONE_IN_PART, OUTSIDE, STATEMENTS, Note

RESPONSE_SCHEMA = 1
"""Version of the answer's form."""


@dataclass(frozen=True)
class Limits:
    """What is accepted of one image."""

    max_pixels: int = decode.MAX_PIXELS
    max_frames: int = 1
    warn_of_scope: bool = False  # instead of refusing what the header says the model is not for


@dataclass(frozen=True)
class Prediction:
    """The answer for one image; probabilities are calibrated."""

    label: str
    probability: float
    threshold: float
    suspicion: Suspicion
    probabilities: Mapping[str, float]
    warnings: tuple[Note, ...]
    sha256: str
    width: int
    height: int
    sop_instance_uid: str
    distance: float
    inputs: npt.NDArray[np.float64]
    region: Region | None
    features: npt.NDArray[np.float32]
    signed: Map
    placement: Placement
    inverted: bool
    canvas: Pixels
    pixels: Pixels

    def evidence(self) -> Map:
        """Evidence for a fracture over the upright image, float32 in [0, 1] (`saliency.evidence`)."""
        shown = saliency.evidence(self.signed, self.placement.letterbox)
        return saliency.on_picture(shown, self.placement.view)

    @property
    def statement(self) -> str:
        """The answer in words."""
        said = STATEMENTS[self.label, self.suspicion]
        return NONE_IN_PART if self.suspicion == "none" and self.truncated else said

    @property
    def truncated(self) -> bool:
        """Whether the file was cut short, so that a part of the image was not seen."""
        return any(note.code == "truncated" for note in self.warnings)

    def answer(self) -> dict[str, Any]:
        """For JSON, without the model's facts."""
        return {
            "label": self.label,
            "probability": round(self.probability, 6),
            "threshold": self.threshold,
            "suspicion": self.suspicion,
            "statement": self.statement,
            "probabilities": {name: round(value, 6) for name, value in self.probabilities.items()},
            "region": self.region and self.region.answer(),
            "warnings": [note.answer() for note in self.warnings],
            "input": {
                "sha256": self.sha256,
                "width": self.width,
                "height": self.height,
                "sop_instance_uid": self.sop_instance_uid or None,
                "seen": {
                    **dict(zip(("x0", "y0", "x1", "y1"), (round(c, 5) for c in self.placement.view.box), strict=True)),
                    "turned": 90 * self.placement.view.quarters,
                    "inverted": self.inverted,
                },
            },
            "schema_version": RESPONSE_SCHEMA,
        }

    def statistics(self) -> dict[str, float]:
        """Input statistics and distance by name, for logs and drift."""
        named = {name: stated(value) for name, value in zip(INPUTS, self.inputs, strict=True)}
        return {**named, "distance": stated(self.distance)}


@dataclass(frozen=True)
class PreparedImage:
    """An image that may be answered: how it became the network's input, and what was measured on the way."""

    given: ModelInput
    texture: npt.NDArray[np.float64]
    distance: float
    inputs: npt.NDArray[np.float64]
    sha256: str
    out_of_scope: str = ""

    @property
    def pixels(self) -> Pixels:
        """The network's input."""
        return self.given.pixels

    @property
    def decoded(self) -> Decoded:
        """The image as it was read."""
        return self.given.decoded

    @property
    def inverted(self) -> bool:
        """Whether the picture was turned from black bone to white."""
        return self.given.canonical is not None and self.given.canonical.inverted >= INVERTED

    @property
    def is_divided(self) -> bool:
        """Whether the picture looks like several radiographs side by side; known of its canonical form alone."""
        return self.given.canonical is not None and gutter.is_divided(self.given.canonical.pixels)


class Predictor:
    """A verified bundle, ready to answer from any number of threads."""

    def __init__(self, bundle: Bundle, limits: Limits | None = None) -> None:
        self.bundle = bundle
        self._limits = limits or Limits()
        self._network = Network(bundle.network)

    def facts(self) -> dict[str, str]:
        """Which model answers, for every answer."""
        return self.bundle.facts()

    def predict(self, content: bytes, region: str = "") -> Prediction:
        """The answer for one image file's bytes; `region` is what its sender knows it to show.

        Raises ImageError: whatever `decode.decode` raises, and `out_of_scope`, `too_small`, `too_many_frames`,
        `colour_photograph`, `blank` or `not_a_radiograph` for other pictures.
        """
        return self.infer(self.prepare(content), region)

    def prepare(self, content: bytes) -> PreparedImage:
        """Everything before the network: decode an image file's bytes, and refuse what is not a radiograph.

        Raises ImageError as `predict` does. Preparing a few images before the network runs on them is faster: its
        weights drive the decoder's code and tables out of the processor's caches.
        """
        limits = self._limits
        header, out_of_scope = intake.check_header(
            content,
            self.bundle.scope,
            max_pixels=limits.max_pixels,
            max_frames=limits.max_frames,
            warn_of_scope=limits.warn_of_scope,
        )
        given = model_input.prepare(content, self.bundle.preprocessing, self.bundle.heads, header=header)
        intake.check_picture(given.decoded, given.picture)
        steepness = texture(given.pixels)
        distance = float(self.bundle.reference.distance(steepness[np.newaxis])[0])
        if self.bundle.image_heads.guard is None:
            guard.check_distance(distance, self.bundle.manifest.guard.limit, given.decoded.truncated)
        sha256 = hashlib.sha256(content).hexdigest()
        return PreparedImage(given, steepness, distance, input_statistics(given.pixels), sha256, out_of_scope)

    def infer(self, prepared: PreparedImage, given_region: str = "") -> Prediction:
        """Run the network on a prepared image and turn its scores into an answer; `given_region` as in `predict`.

        Raises ImageError `not_a_radiograph` where the network's embedding says so.
        """
        outputs = self._network(prepared.pixels)
        unusual = self._is_unusual(prepared, outputs)
        region = self._region(outputs, given_region, self.bundle.scope.region_of(prepared.decoded.header.body_part))
        manifest, decision = self.bundle.manifest, self.bundle.decision
        probabilities = decision.calibration.apply(outputs[SCORES].astype(np.float64))[0]
        fracture = float(1 - probabilities[0])
        header = prepared.decoded.header
        return Prediction(
            label=decision.label(fracture),
            probability=fracture,
            threshold=decision.threshold,
            suspicion=decision.suspicion(fracture),
            probabilities=dict(zip(manifest.classes, map(float, probabilities), strict=True)),
            warnings=(
                *self._notes(prepared, unusual),
                *regions.notes(region, manifest.intended.regions, manifest.weak_regions),
            ),
            sha256=prepared.sha256,
            width=header.width,
            height=header.height,
            sop_instance_uid=header.sop_instance_uid,
            distance=prepared.distance,
            inputs=prepared.inputs,
            region=region,
            features=outputs[FEATURES][0],
            signed=outputs[MAP][0],
            placement=prepared.given.placement,
            inverted=prepared.inverted,
            canvas=prepared.pixels,
            pixels=prepared.given.picture,
        )

    def warm_up(self) -> None:
        """Run the network once in this thread, so that the first image does not wait for it."""
        size = self.bundle.preprocessing.image_size
        self._network(np.zeros((size, size), np.uint8))

    def _is_unusual(self, prepared: PreparedImage, outputs: Outputs) -> bool:
        """Whether the answer needs a warning; ImageError where there may be none."""
        head = self.bundle.image_heads.guard
        if head is None:
            return prepared.distance > self.bundle.manifest.guard.unusual
        odds = float(head.log_odds(outputs[EMBEDDING][0], prepared.texture))
        guard.check_radiograph(odds, head.refuse, prepared.decoded.truncated)
        return odds < head.unusual

    def _region(self, outputs: Outputs, given: str, in_header: str) -> Region | None:
        """What the sender says of the region wins, then what the header says, if the model knows that region."""
        head = self.bundle.image_heads.region
        shares = head.probabilities(outputs[EMBEDDING][0]).tolist() if head else []
        seen: dict[str, float] = dict(zip(head.names if head else (), shares, strict=True))
        likely, intended = head.likely if head else 0.0, self.bundle.manifest.intended.regions
        return regions.find(seen, likely, intended, caller=given, header=in_header)

    def _notes(self, prepared: PreparedImage, unusual: bool) -> list[Note]:
        decoded, size = prepared.decoded, self.bundle.preprocessing.image_size
        header = decoded.header
        notes = []
        if self.bundle.manifest.trained_on.synthetic:
            notes.append(Note.of("synthetic_model"))
        if prepared.out_of_scope:
            notes.append(Note.of("out_of_scope", reason=_capital(prepared.out_of_scope)))
        if header.for_processing:
            notes.append(Note.of("for_processing"))
        if decoded.truncated:
            notes.append(Note.of("truncated"))
        if header.frames > 1:
            notes.append(Note.of("first_frame"))
        notes += _canonical_notes(prepared)
        if prepared.given.smoothed:
            notes.append(Note.of("noisy"))
        if max(header.width, header.height) < size:
            notes.append(Note.of("low_resolution", size=size))
        if unusual:
            notes.append(Note.of("unusual"))
        outside = self.bundle.reference.outside(prepared.inputs)
        if outside:
            what = " and ".join(OUTSIDE[name] for name, *_ in outside)
            found = "; ".join(
                f"{INPUT_MEANINGS[name]} {value:.3g}, in training {low:.3g} to {high:.3g}"
                for name, value, low, high in outside
            )
            note = Note.of("out_of_range", _capital(found), what=_capital(what))
            bright = any(name == "mean" and value > high for name, value, _, high in outside)
            notes.append(replace(note, message=note.message + IS_IT_INVERTED) if bright else note)
        return notes


def _capital(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}"


def _canonical_notes(prepared: PreparedImage) -> list[Note]:
    """What was done to the picture before the network saw it, or seen in it then, that may surprise its reader."""
    notes = []
    if prepared.inverted:
        notes.append(Note.of("inverted"))
    quarters = prepared.given.placement.view.quarters
    if quarters:
        turn = {1: "90 degrees anticlockwise", 2: "180 degrees", 3: "90 degrees clockwise"}[quarters]
        notes.append(Note.of("turned", turn=turn))
    if prepared.is_divided:
        notes.append(Note.of("several_images"))
    return notes
