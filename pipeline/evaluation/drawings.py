"""Drawn pictures that are no radiographs, by kind, each from a seed: what a guard is trained and measured on."""

import math
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Field = npt.NDArray[np.floating]
Rng = np.random.Generator
_ASPECTS = (1.0, 1.0, 4 / 3, 3 / 2, 16 / 9, 3 / 4, 2 / 3, 0.82, 0.5)
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)
_HAND = (cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX)
_LETTERS = np.array(list("eeeettaaooiinnsshhrrdlcumwfgypbvk"))


def draw(kind: str, number: int) -> Pixels:
    """Picture `number` of a generated kind: the same one always, uint8 (h, w), 96 to 900 pixels a side or less."""
    rng = np.random.default_rng([zlib.crc32(kind.encode()), number])
    return KINDS[kind](rng, *_size(rng))


def _size(rng: Rng) -> tuple[int, int]:
    """Height and width."""
    side, aspect = math.exp(rng.uniform(math.log(192), math.log(900))), float(rng.choice(_ASPECTS))
    return (int(side / aspect), int(side)) if aspect > 1 else (int(side), int(side * aspect))


def _grey(field: Field) -> Pixels:
    return np.asarray(np.clip(np.rint(field), 0, 255), np.uint8)


def _between(rng: Rng, field: Field) -> Pixels:
    """Stretched to a random range of grey levels, at least 60 wide."""
    low, high = rng.uniform(0, 90), rng.uniform(150, 255)
    spread = max(float(field.max() - field.min()), 1e-9)
    return _grey(low + (high - low) * (field - field.min()) / spread)


def _grid(height: int, width: int) -> tuple[Field, Field]:
    """Ordinates and abscissae, the longer side from -1 to 1."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    side = max(height, width) / 2
    return (y - height / 2) / side, (x - width / 2) / side


def _spectral(rng: Rng, height: int, width: int, exponent: float) -> Field:
    """Gaussian noise whose amplitude falls as frequency to the power of -exponent; mean 0, deviation 1."""
    fy, fx = np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width)[np.newaxis]
    radius = np.maximum(np.hypot(fy, fx), 1 / max(height, width))
    spectrum = np.fft.rfft2(rng.normal(size=(height, width))) * radius**-exponent
    field = np.fft.irfft2(spectrum, s=(height, width))
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _blurred(field: Field, sigma: float) -> Field:
    return np.asarray(cv2.GaussianBlur(field.astype(np.float32), (0, 0), max(sigma, 0.1)), np.float32)


def _paper(rng: Rng, height: int, width: int) -> Field:
    """White paper under uneven light."""
    y, x = _grid(height, width)
    angle = rng.uniform(0, 2 * math.pi)
    light = rng.uniform(215, 253) + rng.uniform(0, 25) * (x * math.cos(angle) + y * math.sin(angle))
    return np.asarray(light + rng.normal(0, rng.uniform(0.2, 2), (height, width)), np.float32)


def _noise(rng: Rng, height: int, width: int) -> Pixels:
    sort = int(rng.integers(0, 4))
    if sort == 0:
        return np.asarray(rng.integers(0, 256, (height, width)), np.uint8)
    if sort == 1:
        pixels = np.full((height, width), int(rng.integers(0, 256)), np.uint8)
        hit = rng.random((height, width))
        share = rng.uniform(0.02, 0.4)
        pixels[hit < share / 2], pixels[hit > 1 - share / 2] = 0, 255
        return pixels
    if sort == 2:
        return _grey(rng.uniform(60, 190) + rng.uniform(15, 60) * rng.normal(size=(height, width)))
    return _grey(rng.uniform(60, 190) + rng.uniform(20, 60) * _spectral(rng, height, width, rng.uniform(-1, 0.7)))


def _clouds(rng: Rng, height: int, width: int) -> Pixels:
    """1/f to 1/f^2.5: the spectrum of natural scenes, clouds and haze."""
    return _between(rng, _spectral(rng, height, width, rng.uniform(1, 2.5)))


def _gradient(rng: Rng, height: int, width: int) -> Pixels:
    y, x = _grid(height, width)
    angle, sort = rng.uniform(0, 2 * math.pi), int(rng.integers(0, 4))
    along = x * math.cos(angle) + y * math.sin(angle)
    if sort == 0:
        field = along
    elif sort == 1:
        field = -np.hypot(x - rng.uniform(-1, 1), y - rng.uniform(-1, 1))
    elif sort == 2:
        field = np.arctan2(y - rng.uniform(-0.5, 0.5), x - rng.uniform(-0.5, 0.5))
    else:
        field = np.sin(along * rng.uniform(2, 5)) + rng.uniform(0, 1) * x * y
    return _between(rng, field)


def _stripes(rng: Rng, height: int, width: int) -> Pixels:
    y, x = _grid(height, width)
    angle, waves = rng.uniform(0, math.pi), math.exp(rng.uniform(math.log(3), math.log(60)))
    along = x * math.cos(angle) + y * math.sin(angle)
    field = np.sin(math.pi * waves * (along + rng.uniform(0, 0.5) * along**2) + rng.uniform(0, 6))
    return _between(rng, np.sign(field) if rng.random() < 0.5 else field)


def _checkers(rng: Rng, height: int, width: int) -> Pixels:
    count = int(rng.integers(3, 24))
    cell = max(2, max(height, width) // count)
    y, x = np.mgrid[0:height, 0:width]
    board = _between(rng, ((y // cell + x // cell) % 2).astype(np.float32))
    if rng.random() < 0.5:
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        moved = corners + rng.uniform(-0.2, 0.2, (4, 2)).astype(np.float32) * np.array([width, height], np.float32)
        warp = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
        board = np.asarray(cv2.warpPerspective(board, warp, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8)
    return board


def _words(rng: Rng, count: int) -> str:
    return " ".join("".join(rng.choice(_LETTERS, int(rng.integers(2, 10)))) for _ in range(count))


def _write(page: Pixels, text: str, at: tuple[int, int], scale: float, ink: int, *, font: int = _FONTS[0]) -> None:
    cv2.putText(page, text, at, font, scale, ink, max(1, round(1.5 * scale)), cv2.LINE_AA)


def _text_page(rng: Rng, height: int, width: int) -> Pixels:
    page, ink, font = _grey(_paper(rng, height, width)), int(rng.integers(0, 70)), int(rng.choice(_FONTS))
    if rng.random() < 0.25:
        page, ink = np.full((height, width), int(rng.integers(8, 50)), np.uint8), int(rng.integers(170, 250))
    scale = max(height, width) / rng.uniform(500, 1500)
    step, margin = max(6, int(36 * scale)), int(0.06 * width)
    for top in range(margin + step, height - margin // 2, step):
        if rng.random() > 0.12:
            length = int((width - 2 * margin) * rng.uniform(0.75, 1) / (18 * scale))
            _write(page, _words(rng, 24)[: max(3, length)], (margin, top), scale, ink, font=font)
    return page


def _screenshot(rng: Rng, height: int, width: int) -> Pixels:
    dark = rng.random() < 0.4
    shades = [int(shade) for shade in (rng.integers(10, 70, 3) if dark else rng.integers(200, 256, 3))]
    ink = int(rng.integers(170, 256)) if dark else int(rng.integers(0, 90))
    page = np.full((height, width), shades[0], np.uint8)
    bar, side = max(8, height // 14), int(width * rng.uniform(0.1, 0.3))
    cv2.rectangle(page, (0, 0), (width, bar), shades[1] // 2 if dark else shades[1] - 60, -1)
    cv2.rectangle(page, (0, bar), (side, height), shades[2], -1)
    scale = height / rng.uniform(700, 1200)
    step = max(6, int(34 * scale))
    for top in range(bar + step, height - step // 2, step):
        _write(page, _words(rng, 1), (4, top), scale * 0.8, ink)
        if rng.random() < 0.75:
            _write(page, _words(rng, int(rng.integers(1, 8))), (side + 8, top), scale, ink)
    for _ in range(int(rng.integers(2, 7))):
        left, top = int(rng.integers(side, width)), int(rng.integers(bar, height))
        corner = (left + int(rng.integers(20, width // 3 + 21)), top + int(rng.integers(10, height // 4 + 11)))
        cv2.rectangle(page, (left, top), corner, int(rng.integers(0, 256)), -1 if rng.random() < 0.6 else 1)
    return page


def _chart(rng: Rng, height: int, width: int) -> Pixels:
    dark = rng.random() < 0.25
    page = np.full((height, width), int(rng.integers(10, 50)) if dark else int(rng.integers(235, 256)), np.uint8)
    if rng.random() < 0.25:
        return _pie(rng, page)
    ink, left, bottom = 220 if dark else 30, int(0.12 * width), int(0.88 * height)
    cv2.line(page, (left, bottom), (width - 8, bottom), ink, 1)
    cv2.line(page, (left, 8), (left, bottom), ink, 1)
    for k in range(1, 6):
        level = bottom - k * (bottom - 10) // 6
        cv2.line(page, (left, level), (width - 8, level), 128, 1)
        _write(page, str(k * 10), (2, level), height / 1200, ink)
    sort = int(rng.integers(0, 3))
    if sort == 0:
        bars = int(rng.integers(5, 16))
        for x in np.linspace(left + 6, width - 14, bars).astype(int):
            corner = (int(x) + (width - left) // (2 * bars), bottom)
            cv2.rectangle(page, (int(x), int(rng.integers(12, bottom))), corner, int(rng.integers(0, 256)), -1)
    elif sort == 1:
        for _ in range(int(rng.integers(1, 4))):
            walk = bottom - np.cumsum(rng.normal(0.1, 1, 60)) * height / 40 - height / 4
            points = np.stack([np.linspace(left, width - 8, 60), np.clip(walk, 8, bottom)], 1).astype(np.int32)
            cv2.polylines(page, [points], False, int(rng.integers(40, 200)), 2, cv2.LINE_AA)
    else:
        for x, y in rng.normal(0.5, 0.15, (int(rng.integers(40, 300)), 2)):
            centre = (int(left + x * (width - left)), int(y * bottom))
            cv2.circle(page, centre, max(2, width // 150), int(rng.integers(0, 200)), -1, cv2.LINE_AA)
    return page


def _pie(rng: Rng, page: Pixels) -> Pixels:
    height, width = page.shape
    centre, radius, angle = (width // 2, height // 2), min(height, width) // 3, 0.0
    for share in 360 * rng.dirichlet(np.ones(5)):
        shade = int(rng.integers(0, 256))
        cv2.ellipse(page, centre, (radius, radius), 0, angle, angle + float(share), shade, -1, cv2.LINE_AA)
        angle += float(share)
    return page


def _line_drawing(rng: Rng, height: int, width: int) -> Pixels:
    dark = rng.random() < 0.3
    page = _grey(_paper(rng, height, width)) if not dark else np.zeros((height, width), np.uint8)
    ink, side = (255 if dark else int(rng.integers(0, 60))), max(height, width)
    for _ in range(int(rng.integers(4, 25))):
        thick = max(1, int(side * rng.uniform(0.002, 0.008)))
        sort = int(rng.integers(0, 4))
        points = (rng.random((int(rng.integers(3, 7)), 2)) * [width, height]).astype(np.int32)
        if sort == 0:
            cv2.polylines(page, [points], bool(rng.random() < 0.5), ink, thick, cv2.LINE_AA)
        elif sort == 1:
            axes, turn = [int(axis) for axis in rng.integers(5, side // 3, 2)], float(rng.uniform(0, 180))
            cv2.ellipse(page, points[0].tolist(), axes, turn, 0, float(rng.uniform(90, 360)), ink, thick, cv2.LINE_AA)
        elif sort == 2:
            cv2.rectangle(page, points[0].tolist(), points[1].tolist(), ink, thick)
        else:
            t = np.linspace(0, 1, 40)[:, np.newaxis]
            a, b, c = points[:3].astype(np.float64)
            curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
            cv2.polylines(page, [curve.astype(np.int32)], False, ink, thick, cv2.LINE_AA)
    return page


def _handwriting(rng: Rng, height: int, width: int) -> Pixels:
    page = _paper(rng, height, width)
    scale = max(height, width) / rng.uniform(350, 900)
    step = max(8, int(46 * scale))
    ink = np.zeros((height, width), np.uint8)
    for top in range(step, height, step):
        if rng.random() < 0.5:
            cv2.line(page, (0, top + step // 5), (width, top + step // 5), 190.0, 1)
        text = _words(rng, int(rng.integers(1, 6)))
        start = (int(rng.uniform(0.03, 0.2) * width), top + int(rng.integers(-3, 4)))
        cv2.putText(ink, text, start, int(rng.choice(_HAND)), scale, 255, max(1, round(2 * scale)), cv2.LINE_AA)
    wave = _spectral(rng, height, width, 2.5) * scale * 4
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ink = np.asarray(cv2.remap(ink, x + wave, y + np.roll(wave, height // 3, 0), cv2.INTER_LINEAR), np.uint8)
    return _grey(page - ink / 255 * rng.uniform(130, 210))


def _cells(rng: Rng, height: int, width: int) -> Pixels:
    """Voronoi cells, as of stones, scales or tissue under a microscope."""
    seeds = np.full((height, width), 255, np.uint8)
    count = int(rng.integers(20, 400))
    seeds[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    away, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5)
    shade = rng.uniform(60, 220, int(labels.max()) + 1)[labels]
    return _grey(_blurred(shade - rng.uniform(0, 2) * away, 1) + rng.uniform(0, 12) * rng.normal(size=(height, width)))


def _fabric(rng: Rng, height: int, width: int) -> Pixels:
    """Woven or combed: noise that is stretched along one or two directions, as cloth, wood, hair or grass."""
    length, sides = int(rng.integers(9, 60)), rng.random((height, width)).astype(np.float32)
    turn = float(rng.uniform(0, 180))
    field = np.zeros((height, width), np.float32)
    for angle in (turn, turn + 90) if rng.random() < 0.5 else (turn,):
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1
        around = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), angle, 1)
        kernel = np.asarray(cv2.warpAffine(kernel, around, (length, length)), np.float32)
        field += np.asarray(cv2.filter2D(sides, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), np.float32)
    return _between(rng, field + rng.uniform(0, 0.1) * _spectral(rng, height, width, 1.5))


def _light(rng: Rng) -> tuple[float, float, float]:
    direction = np.array([rng.uniform(-1, 1), rng.uniform(-1, 0.4), rng.uniform(0.4, 1.2)])
    x, y, z = direction / np.linalg.norm(direction)
    return float(x), float(y), float(z)


def _solid(rng: Rng, y: Field, x: Field, light: tuple[float, float, float]) -> tuple[npt.NDArray[np.bool_], Field]:
    """Mask and Lambert shading of a ball, a lying or standing cylinder, or a box."""
    centre_x, centre_y, size = rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6), rng.uniform(0.15, 0.5)
    turn = rng.uniform(0, math.pi)
    u = ((x - centre_x) * math.cos(turn) + (y - centre_y) * math.sin(turn)) / size
    v = (-(x - centre_x) * math.sin(turn) + (y - centre_y) * math.cos(turn)) / size
    sort = int(rng.integers(0, 3))
    if sort == 0:
        v = v * rng.uniform(0.7, 1.3)
        inside = u**2 + v**2 < 1
        depth = np.sqrt(np.maximum(1 - u**2 - v**2, 0))
        shade = u * light[0] + v * light[1] + depth * light[2]
    elif sort == 1:
        inside = (np.abs(u) < 0.6) & (np.abs(v) < rng.uniform(0.8, 1.8))
        shade = u / 0.6 * light[0] + np.sqrt(np.maximum(1 - (u / 0.6) ** 2, 0)) * light[2]
    else:
        inside = (np.abs(u) < 0.8) & (np.abs(v) < 0.9)
        shade = np.where(u < rng.uniform(-0.4, 0.4), light[2], abs(light[0])) + 0 * v
    return inside, np.asarray(np.maximum(shade, 0), np.float32)


def _objects(rng: Rng, height: int, width: int, background: Field, ambient: float) -> Pixels:
    """Shaded solids with texture and shadow before a background."""
    y, x = _grid(height, width)
    light, picture = _light(rng), background.astype(np.float32)
    for _ in range(int(rng.integers(1, 6))):
        inside, shade = _solid(rng, y, x, light)
        shift = (int(light[0] * -0.12 * width), int(abs(light[1]) * 0.12 * height))
        shadow = np.roll(inside.astype(np.float32), shift, (1, 0))
        picture *= 1 - rng.uniform(0.2, 0.6) * _blurred(shadow, 0.02 * width)
        albedo = rng.uniform(80, 255) * (1 + rng.uniform(0, 0.15) * _spectral(rng, height, width, 1))
        picture = np.where(inside, albedo * (ambient + (1 - ambient) * shade), picture)
    return _grey(_blurred(picture, 0.7) + rng.normal(0, rng.uniform(0.5, 4), (height, width)))


def _things(rng: Rng, height: int, width: int) -> Pixels:
    """Objects on a table before a wall."""
    y, x = _grid(height, width)
    wall = rng.uniform(70, 230) + rng.uniform(-50, 50) * x + rng.uniform(-30, 30) * y
    table = rng.uniform(40, 220) * (1 + 0.1 * _spectral(rng, height, width, 1.2))
    return _objects(rng, height, width, np.where(y > rng.uniform(-0.2, 0.5), table, wall), rng.uniform(0.15, 0.5))


def _things_on_black(rng: Rng, height: int, width: int) -> Pixels:
    """Objects before a dark ground, the photographs most like a radiograph."""
    return _objects(rng, height, width, np.full((height, width), rng.uniform(0, 30), np.float32), rng.uniform(0, 0.2))


def _landscape(rng: Rng, height: int, width: int) -> Pixels:
    """Ridges one behind the other below a sky."""
    y, _ = _grid(height, width)
    picture = rng.uniform(140, 240) + rng.uniform(-40, 40) * y + rng.uniform(0, 18) * _spectral(rng, height, width, 1.8)
    layers = int(rng.integers(2, 6))
    for layer in range(layers):
        ridge = (-0.5 + 1.1 * layer / layers) * height / max(height, width)
        line = ridge + 0.08 * _spectral(rng, 1, width, rng.uniform(1, 1.6))
        rough = rng.uniform(4, 30) * _spectral(rng, height, width, rng.uniform(0.6, 1.4))
        picture = np.where(y > line, 190 - 150 * (layer + 1) / layers + rough, picture)
    return _grey(picture + rng.normal(0, rng.uniform(0.5, 3), (height, width)))


def _code(rng: Rng, height: int, width: int) -> Pixels:
    """A bar code or a two-dimensional code, on a label."""
    page = _paper(rng, height, width)
    bars = rng.random() < 0.5
    count = int(rng.integers(21, 60))
    cells = rng.integers(0, 2, (1 if bars else count, count)).astype(np.uint8)
    h, w = int(height * rng.uniform(0.4, 0.9)), int(width * rng.uniform(0.4, 0.9))
    if not bars:
        h = w = min(h, w)
    top, left = (height - h) // 2, (width - w) // 2
    drawn = cv2.resize(cells, (w, h), interpolation=cv2.INTER_NEAREST)
    page[top : top + h, left : left + w] *= 1 - 0.9 * drawn
    return _grey(page)


KINDS: dict[str, Callable[[Rng, int, int], Pixels]] = {
    "noise": _noise,
    "clouds": _clouds,
    "gradient": _gradient,
    "stripes": _stripes,
    "checkers": _checkers,
    "text page": _text_page,
    "screenshot": _screenshot,
    "chart": _chart,
    "line drawing": _line_drawing,
    "handwriting": _handwriting,
    "code": _code,
    "cells": _cells,
    "fabric": _fabric,
    "landscape": _landscape,
    "things": _things,
    "things on black": _things_on_black,
}
"""Generated kinds: a random stream, height and width to pixels."""
