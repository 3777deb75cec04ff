"""The peer: what people write first. Flask, Keras, `cv2.resize`, `/ 255.0`, `model.predict`, behind gunicorn."""

import os
from typing import Any

import cv2
import keras
import numpy as np
from flask import Flask, Response, jsonify, request

app = Flask(__name__)
model = keras.models.load_model(os.environ["PEER_MODEL"], compile=False)
SIZE = int(os.environ["PEER_SIZE"])


@app.get("/readyz")
def readyz() -> str:
    """Ready once the model has answered."""
    model.predict(np.zeros((1, SIZE, SIZE, 1), np.float32), verbose=0)
    return ""


@app.post("/predict")
def predict() -> Response:
    """The image as the body, the label as JSON."""
    pixels: Any = cv2.imdecode(np.frombuffer(request.data, np.uint8), cv2.IMREAD_GRAYSCALE)
    scaled = cv2.resize(pixels, (SIZE, SIZE)) / 255.0
    probability = float(model.predict(scaled[np.newaxis, ..., np.newaxis].astype(np.float32), verbose=0)[0, 0])
    answer = jsonify(label="Fracture detected" if probability >= 0.5 else "Normal", probability=probability)
    answer.headers["X-Request-ID"] = request.headers.get("X-Request-ID", "")
    return answer
