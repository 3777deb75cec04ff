"""What lies on the limb and in the beam: metal, marker and shutter; and from line integrals to grey levels."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.sources.synthetic.anatomy import Anatomy
from pipeline.data.sources.synthetic.curves import Array, soft_edge
from pipeline.data.sources.synthetic.projection import MU_TITANIUM, Frame
from pipeline.data.sources.synthetic.streams import Rng

Pixels = npt.NDArray[np.uint8]


def hardware_integral(rng: Rng, anatomy: Anatomy, frame: Frame) -> Array:
    """Line integral of a plate with screws or of a nail on the bone in focus."""
    bone = anatomy.bones[anatomy.focus[0]]
    whole = (slice(0, frame.height), slice(0, frame.width))
    along, across = frame.axes(bone.u, bone.v, bone.angle, whole)
    along = along - bone.length * (anatomy.focus[1] + rng.uniform(-0.06, 0.06))
    radius, soft = bone.radius, 1.2 * frame.pitch
    if rng.random() < 0.3:
        nail = np.sqrt(np.maximum((0.2 * radius) ** 2 - across**2, 0)) * 2
        return np.asarray(MU_TITANIUM * nail * soft_edge(3.6 * radius - np.abs(along), soft), np.float32)
    side = float(rng.choice([-1, 1])) * radius * 0.95
    half = radius * rng.uniform(2.5, 4.0)
    plate = soft_edge(0.2 * radius - np.abs(across - side), soft) * soft_edge(half - np.abs(along), soft) * 4.0
    spacing = half / 2.5
    phase = np.abs((along + half) % spacing - spacing / 2)
    screw = 2 * np.sqrt(np.maximum((0.11 * radius) ** 2 - phase**2, 0)) * soft_edge(half - np.abs(along), soft)
    screw = screw * soft_edge(1.25 * radius - np.abs(across), soft)
    return np.asarray(MU_TITANIUM * np.maximum(plate, screw), np.float32)


def marker_mask(rng: Rng, frame: Frame, letter: str) -> Array:
    """The lead letter that names the side, as a mask in [0, 1] in one of the corners."""
    size = rng.uniform(0.045, 0.065) * max(frame.height, frame.width)
    x = frame.width * (0.13 if rng.random() < 0.5 else 0.87) + rng.normal(0, 0.012) * frame.width
    y = frame.height * (rng.uniform(0.12, 0.22) if rng.random() < 0.7 else rng.uniform(0.78, 0.88))
    tilt = rng.normal(0, 0.12)
    curve = [(0.25 * np.sin(a), -0.25 - 0.25 * np.cos(a)) for a in np.linspace(0, np.pi, 9)]
    strokes = {
        "L": [[(-0.3, -0.5), (-0.3, 0.5), (0.3, 0.5)]],
        "R": [[(-0.3, 0.5), (-0.3, -0.5), *curve, (-0.3, 0.0)], [(0.0, 0.0), (0.3, 0.5)]],
    }[letter]
    mask = np.zeros((frame.height, frame.width), np.uint8)
    turn = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    for stroke in strokes:
        points = np.array(stroke) @ turn.T * size + (x, y)
        cv2.polylines(
            mask, [np.round(points * 16).astype(np.int32)], False, 255, max(2, round(size * 0.16)), cv2.LINE_AA, 4
        )
    return mask.astype(np.float32) / 255


def shutter_mask(rng: Rng, frame: Frame) -> Array:
    """The collimated field as a mask in [0, 1]; outside it the picture is black."""
    height, width = frame.height, frame.width
    edges = np.where(rng.random(4) < 0.6, rng.uniform(0.005, 0.055, 4), -0.05).tolist()
    tilt = rng.normal(0, 0.006)
    rows = np.arange(height, dtype=np.float32)[:, None]
    cols = np.arange(width, dtype=np.float32)[None, :]
    x, y = cols + tilt * rows, rows - tilt * cols
    inside = np.minimum(
        np.minimum(x - edges[0] * width, (1 - edges[1]) * width - x),
        np.minimum(y - edges[2] * height, (1 - edges[3]) * height - y),
    )
    return np.asarray(np.clip(inside / 2.5 + 0.5, 0, 1), np.float32)


def _blurred(small: Array, share: float, shape: tuple[int, int]) -> Array:
    """`small` blurred over `share` of its longer side and enlarged to `shape`."""
    wide = cv2.GaussianBlur(small, (0, 0), max(small.shape) * share)
    return np.asarray(cv2.resize(wide, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def expose(exposure: Rng, noise: Rng, *, intact: Array, path: Array, shutter: Array) -> Pixels:
    """From line integrals to grey levels: `path` is what the beam meets, `intact` the limb alone and unbroken.

    Scatter, window and the large-scale part that the display compresses come from the intact limb, so that a
    fracture changes nothing but its own pixels. Quantum noise is a standard normal draw times the square root
    of the expected count: a Poisson draw would depend on the count itself, and a last-bit difference between
    two machines could turn into another draw; at a thousand photons and more the two distributions agree.
    """
    photons = exposure.uniform(2500, 9000)
    scatter, blur = exposure.uniform(0.04, 0.12), exposure.uniform(0.55, 0.85)
    compress, gamma = exposure.uniform(0.4, 0.55), exposure.uniform(1.35, 1.65)
    quantiles = [exposure.uniform(0.5, 4), exposure.uniform(99.6, 99.95)]
    height, width = intact.shape
    heel = 1 + 0.06 * exposure.normal() * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    small = np.asarray(cv2.resize(intact, (width // 8, height // 8), interpolation=cv2.INTER_AREA), np.float32)
    base = compress * _blurred(small, 0.12, (height, width))
    haze = scatter * _blurred(np.exp(-small), 0.08, (height, width))
    black, white = (float(level) for level in np.percentile((intact - base)[::3, ::3], quantiles))
    light = (cv2.GaussianBlur(np.exp(-path), (0, 0), blur) * (1 - scatter) + haze) * heel
    dose = photons / math.exp(-float(np.percentile(small, 75)))
    grain = noise.standard_normal((height, width), dtype=np.float32)
    light = np.maximum(light + grain * np.sqrt(np.maximum(light, 1e-4) / dose), 1e-4)
    grey = np.clip((-np.log(light) - base - black) / (white - black), 0, 1) ** gamma * 235 * shutter + 6
    return np.asarray(np.round(grey), np.uint8)
