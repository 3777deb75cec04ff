"""Importing a module of the pipeline changes nothing outside it."""

import subprocess
import sys

_SCRIPT = """
import os, pkgutil
import cv2, keras, mlflow, tensorflow  # what they set themselves is theirs
before = dict(os.environ)
import importlib
import pipeline
for module in pkgutil.walk_packages(pipeline.__path__, "pipeline."):
    if module.name in {
        "pipeline.archive.cluster", "pipeline.archive.crew", "pipeline.archive.joining",
        "pipeline.archive.preparing.cluster", "pipeline.training.cluster", "pipeline.tuning.ray_tune",
    }:
        continue  # they need the extra `ray`
    importlib.import_module(module.name)
    assert dict(os.environ) == before, module.name
"""


def test_importing_a_module_writes_no_environment_variable() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_quiet_import_of_tensorflow_keeps_it_quiet_afterwards() -> None:
    script = (
        "from pipeline.quiet import quiet_import\n"
        "with quiet_import():\n"
        "    import tensorflow as tf\n"
        "tf.lite.TFLiteConverter.from_concrete_functions(\n"
        "    [tf.function(lambda x: x + 1.0).get_concrete_function(tf.TensorSpec((1,)))]).convert()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert ".cc:" not in done.stderr
