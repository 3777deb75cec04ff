"""What a model says of the images of one part, all of it from one pass."""

from dataclasses import dataclass

from pipeline.quiet import quiet_import

with quiet_import():
    import keras
import numpy as np
import numpy.typing as npt

from pipeline.data.prepared import Prepared
from pipeline.evaluation.metrics import Array
from pipeline.evaluation.saliency import EMBEDDING, MAP, SCORES
from pipeline.progress import progress_bar
from pipeline.training import architectures
from serving.statistics import texture

_BATCH = 32
_OUTPUTS = (SCORES, architectures.FEATURES, EMBEDDING, MAP)


@dataclass(frozen=True)
class Outputs:
    """What the model says of some images: raw scores (n, 1 or classes), features (n, k), embeddings (n, m) and signed
    maps (n, h, w). `textures` (n, TEXTURE) are those of the images (`statistics.texture`).
    """

    rows: npt.NDArray[np.int64]
    scores: Array
    features: Array
    embeddings: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]
    textures: Array


def run_model(model: keras.Model, data: Prepared, part: str) -> Outputs:
    """Pass one part through the explained model, with progress."""
    rows = data.rows(part)
    collected: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in _OUTPUTS}
    with progress_bar(f"evaluate: {part} set", len(rows)) as advance:
        for start in range(0, len(rows), _BATCH):
            chosen = rows[start : start + _BATCH]
            answer = model.predict_on_batch(data.images[chosen][..., np.newaxis])
            for name, parts in collected.items():
                parts.append(np.asarray(answer[name], np.float32))
            advance(len(chosen))
    textures = np.stack([texture(data.images[row]) for row in rows])
    scores, features, embeddings, maps = (np.concatenate(collected[name]) for name in _OUTPUTS)
    return Outputs(rows, scores.astype(np.float64), features.astype(np.float64), embeddings, maps, textures)
