"""Region head and guard of a network: what they are fitted to, seen through it, and what they make of the test set."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from pipeline.data import cells
from pipeline.data.prepared import Prepared
from pipeline.evaluation.drawings import KINDS
from pipeline.evaluation.guard_pictures import CHOOSE, TRAIN, Make, collected, drawings, drawn_rows, radiographs
from pipeline.evaluation.image_heads import Seen, fit_guard, fit_region
from pipeline.evaluation.metrics import Array, wilson
from pipeline.evaluation.model_outputs import Outputs
from pipeline.evaluation.records import Estimate, InputMetrics
from pipeline.evaluation.saliency import EMBEDDING, finer_part
from pipeline.params import EvaluateParams
from pipeline.progress import Advance, progress_bar
from serving.image_heads import ImageHeads, RegionHead
from serving.imaging.canonical.form import NO_HEADS, Heads, canonical
from serving.imaging.canvas import Pixels, Preprocessing, fit
from serving.statistics import texture

_BATCH = 32
_FEWER = 4
"""Times fewer pictures are for choosing the guard's limits than for training it."""


@dataclass(frozen=True)
class Viewer:
    """Shows pictures to a network as the service does: in the canonical form and the letterbox of its training images.

    `embed` takes model inputs, uint8 (n, size, size), and gives embeddings (n, k).
    """

    preprocessing: Preprocessing
    heads: Heads
    embed: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

    def model_input(self, pixels: Pixels) -> Pixels:
        """A grey picture, uint8 (h, w), as the network sees it, uint8 (size, size)."""
        steps = self.preprocessing.canonical
        shown = canonical(pixels, steps, self.heads).pixels if steps.any else pixels
        return fit(shown, shown.shape[1], shown.shape[0], self.preprocessing)[0]

    def see(self, makes: Sequence[Make], advance: Advance) -> Seen:
        """What network and texture say of pictures: made on all cores, a batch at a time and never all at once."""

        def prepare(make: Make) -> tuple[Pixels, Array]:
            canvas = self.model_input(make())
            return canvas, texture(canvas)

        found = []
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for start in range(0, len(makes), _BATCH):
                pairs = list(pool.map(prepare, makes[start : start + _BATCH]))
                canvases, textures = np.stack([canvas for canvas, _ in pairs]), np.stack([one for _, one in pairs])
                found.append(Seen(self.embed(canvases), textures))
                advance(len(pairs))
        return Seen.together(found)


def fit_heads(
    data: Prepared,
    reasons: keras.Model,
    outputs: Mapping[str, Outputs],
    options: EvaluateParams,
    canonical_heads: Heads = NO_HEADS,
) -> ImageHeads:
    """Region head and guard of a model, as far as the data and the options allow.

    `reasons` is the explained model, `outputs` are those of each part. Both are fitted to the training set as it is
    and, with `guard_images`, under changes; what is chosen is chosen on the validation set.
    """
    seen = {part: Seen(found.embeddings, found.textures) for part, found in outputs.items()}
    rows = outputs["train"].rows
    if not options.guard_images:
        return ImageHeads(_region_head(data, seen["train"], rows, seen["validation"]))

    def embed(canvases: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.asarray(reasons.predict_on_batch(canvases[..., np.newaxis])[EMBEDDING], np.float32)

    changed = drawn_rows(data, "train", options.guard_images)
    seen |= _see_all(data, changed, Viewer(data.preprocessing, canonical_heads, embed), options)
    train = Seen.together([seen["train"], seen["changed"]])
    finer = finer_part(reasons)
    guard = fit_guard(
        train.finer(finer),
        seen["others"].finer(finer),
        Seen.together([seen["validation"], seen["chosen"]]).finer(finer),
        seen["chosen_others"].finer(finer),
    )
    return ImageHeads(_region_head(data, train, np.concatenate([rows, changed]), seen["validation"]), guard)


def _see_all(
    data: Prepared, changed: npt.NDArray[np.int64], viewer: Viewer, options: EvaluateParams
) -> dict[str, Seen]:
    """Radiographs under changes, and pictures that are none, for training and, fewer of them, for choosing limits."""
    per_kind = max(_FEWER, len(changed) // len(KINDS))
    makes = {
        "changed": radiographs(data, changed),
        "others": drawings(TRAIN, per_kind),
        "chosen": radiographs(data, drawn_rows(data, "validation", max(1, len(changed) // _FEWER), seed=1)),
        "chosen_others": drawings(CHOOSE, per_kind // _FEWER),
    }
    if options.guard_pictures:
        makes["others"] += collected(Path(options.guard_pictures) / TRAIN)
        makes["chosen_others"] += collected(Path(options.guard_pictures) / CHOOSE)
    with progress_bar("evaluate: pictures for the guard", sum(map(len, makes.values()))) as advance:
        return {name: viewer.see(ones, advance) for name, ones in makes.items()}


def _region_head(data: Prepared, seen: Seen, rows: npt.NDArray[np.int64], validation: Seen) -> RegionHead | None:
    """The region head from what is known of rows of prepared/; None where the data name no regions."""
    if "region" not in data.table.columns:
        return None
    return fit_region(seen.embeddings, data.table["region"].to_numpy(str)[rows].tolist(), validation.embeddings)


def input_metrics(data: Prepared, heads: ImageHeads, test: Outputs) -> InputMetrics | None:
    """What the heads make of the test set; None without heads."""
    found: dict[str, Estimate] = {}
    if heads.region:
        column = data.table["region"].to_numpy(str)[test.rows].tolist()
        probabilities = heads.region.probabilities(test.embeddings)
        likeliest = [heads.region.names[index] for index in probabilities.argmax(axis=1)]
        known = [(name, cell) for name, cell in zip(likeliest, column, strict=True) if cell]
        right = sum(name in cells.split(cell) for name, cell in known)
        unknown = int((probabilities.max(axis=1) < heads.region.likely).sum())
        found["region_right"] = Estimate(**wilson(right, len(known)))
        found["region_unknown"] = Estimate(**wilson(unknown, len(likeliest)))
    if heads.guard:
        odds = heads.guard.log_odds(test.embeddings, test.textures)
        for name, limit in (("refused", heads.guard.refuse), ("unusual", heads.guard.unusual)):
            found[name] = Estimate(**wilson(int((odds < limit).sum()), len(odds)))
    return InputMetrics(**found) if found else None
