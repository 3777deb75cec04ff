"""`python -m benchmarks.heatmap`: what exporting the heatmap with the scores costs, on one core."""

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import measure
from pipeline.evaluation.saliency import explained
from pipeline.packaging.conversion import FORMATS, convert
from pipeline.quiet import quiet_import
from pipeline.training.params import TrainParams

TARGET = 1.10
SIZE = 224
ROUNDS = 15
CALLS = 20
NETWORKS = {
    "cnn": TrainParams(),
    "mobilenet": TrainParams(architecture="MobileNet", architecture_options={"alpha": 0.75}),
}


def main() -> None:
    """Time the network with scores alone and with scores, features and map, in turn, in every number format."""
    with quiet_import():
        import keras  # noqa: PLC0415
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

        from pipeline.training import architectures  # noqa: PLC0415
    print(measure.machine(["ai-edge-litert", "keras", "tensorflow"]))
    measure.warn_of_load()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    pixels = np.random.default_rng(0).integers(0, 255, (1, SIZE, SIZE, 1), np.uint8)
    with tempfile.TemporaryDirectory() as name:
        for network, options in NETWORKS.items():
            model = architectures.build(options, SIZE, 2)
            alone = keras.Model(model.input, {"scores": model.output})
            for kind in FORMATS:
                runners = {}
                for what, exported in (("alone", alone), ("with map", explained(model))):
                    path = Path(name) / f"{network}-{kind}-{what}.tflite"
                    path.write_bytes(convert(exported, kind))
                    runners[what] = Interpreter(model_path=str(path), num_threads=1).get_signature_runner()
                seconds: dict[str, list[float]] = {what: [] for what in runners}
                for number in range(ROUNDS + 1):
                    for what, runner in runners.items():
                        began = time.perf_counter()
                        for _ in range(CALLS):
                            runner(pixels=pixels)
                        if number:
                            seconds[what].append(time.perf_counter() - began)
                quotients = measure.ratios(seconds["with map"], seconds["alone"])
                verdict = measure.verdict(quotients, TARGET, at_least=False)
                print(f"{network} {kind}: with map / alone {measure.spread(quotients)}  {verdict}")


if __name__ == "__main__":
    main()
