"""Evaluation plots as PNG files and as the tables DVC draws."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen on a server

import cv2
import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from pipeline.evaluation import metrics
from pipeline.evaluation.metrics import Array, Labels
from serving.imaging.canvas import Pixels
from serving.saliency import overlay

_ACCENT, _QUIET = "#0b6e99", "#8a97a3"


def curve_tables(y: Labels, p: Array) -> dict[str, pd.DataFrame]:
    """The tables behind the plots: roc, precision_recall, reliability, histogram."""
    fpr, tpr, roc_thresholds = metrics.roc_points(y, p)
    recall, precision, pr_thresholds = metrics.precision_recall_points(y, p)
    reliability = metrics.reliability_points(y, p)
    edges = np.linspace(0, 1, 21)
    counts = {name: np.histogram(p[y == value], edges)[0] for name, value in (("normal", 0), ("fractured", 1))}
    return {
        "roc": _rounded({"fpr": fpr, "tpr": tpr, "threshold": roc_thresholds}),
        "precision_recall": _rounded({"recall": recall, "precision": precision, "threshold": pr_thresholds}),
        "reliability": _rounded(
            {
                "probability": [row[0] for row in reliability],
                "fracture_rate": [row[1] for row in reliability],
                "images": [row[2] for row in reliability],
            }
        ),
        "histogram": _rounded({"probability": edges[:-1] + 0.025, **counts}),
    }


def _rounded(columns: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(columns).round(5)


def save_png(tables: dict[str, pd.DataFrame], confusion: pd.DataFrame, title: str, folder: Path) -> None:
    """Draw roc, precision_recall, reliability, histogram and confusion as PNG files into `folder`."""
    drawings = {
        "roc": _roc(tables["roc"]),
        "precision_recall": _precision_recall(tables["precision_recall"]),
        "reliability": _reliability(tables["reliability"]),
        "histogram": _histogram(tables["histogram"]),
        "confusion": _confusion(confusion),
    }
    for name, figure in drawings.items():
        figure.suptitle(title, fontsize=9, color=_QUIET)
        figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
        pyplot.close(figure)


def _axes(x: str, y: str) -> tuple[Figure, Any]:
    figure, axes = pyplot.subplots(figsize=(4.4, 4), layout="constrained")
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _roc(table: pd.DataFrame) -> Figure:
    figure, axes = _axes("1 - specificity", "sensitivity")
    axes.plot([0, 1], [0, 1], color=_QUIET, linestyle=":")
    axes.plot(table["fpr"], table["tpr"], color=_ACCENT)
    return figure


def _precision_recall(table: pd.DataFrame) -> Figure:
    figure, axes = _axes("recall (sensitivity)", "precision")
    axes.plot(table["recall"], table["precision"], color=_ACCENT)
    axes.set_ylim(0, 1.02)
    return figure


def _reliability(table: pd.DataFrame) -> Figure:
    figure, axes = _axes("mean calibrated probability", "observed fracture rate")
    axes.plot([0, 1], [0, 1], color=_QUIET, linestyle=":")
    axes.plot(table["probability"], table["fracture_rate"], marker="o", color=_ACCENT)
    for x, y, images in table.itertuples(index=False):
        axes.annotate(f"{images:.0f}", (x, y), textcoords="offset points", xytext=(4, -10), fontsize=7, color=_QUIET)
    return figure


def _histogram(table: pd.DataFrame) -> Figure:
    figure, axes = _axes("calibrated probability of a fracture", "images")
    axes.bar(table["probability"], table["normal"], width=0.045, color=_QUIET, alpha=0.7, label="normal")
    axes.bar(table["probability"], table["fractured"], width=0.045, color=_ACCENT, alpha=0.7, label="fractured")
    axes.legend(frameon=False)
    return figure


def _confusion(table: pd.DataFrame) -> Figure:
    figure, axes = pyplot.subplots(figsize=(1.6 + 0.8 * len(table), 1.4 + 0.7 * len(table)), layout="constrained")
    counts = table.to_numpy()
    rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="answer", ylabel="truth", xticks=range(len(table)), yticks=range(len(table)))
    axes.set_xticklabels(table.columns, rotation=30, ha="right")
    axes.set_yticklabels(table.index)
    for (row, column), rate in np.ndenumerate(rates):
        colour = "white" if rate > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    return figure


def gallery(entries: Sequence[tuple[str, Pixels, Any, Any, str]], folder: Path) -> None:
    """The worst errors side by side: image with true boxes (green) and overlay, one PNG each and an index.html.

    An entry is (image_id, pixels uint8 (h, w), map in [0, 1] of the same size, boxes as fractions (k, 4), text).
    """
    lines = []
    for image_id, pixels, shown, truth, text in entries:
        plain = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
        height, width = pixels.shape
        for x0, y0, x1, y1 in truth:
            corners = (round(x0 * width), round(y0 * height)), (round(x1 * width), round(y1 * height))
            cv2.rectangle(plain, *corners, (80, 200, 80), 1)
        pair = np.hstack([plain, overlay(pixels, shown)])
        cv2.imwrite(str(folder / f"{image_id}.png"), cv2.resize(pair, None, fx=2, fy=2))
        lines.append(f'<figure><img src="{image_id}.png" alt=""><figcaption>{image_id}: {text}</figcaption></figure>')
    style = "body{font:14px system-ui;background:#12181f;color:#dbe4ec}figure{display:inline-block;margin:1rem}"
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Worst errors</title><style>{style}</style>'
    (folder / "index.html").write_text(page + "<h1>Worst errors</h1>" + "".join(lines) + "</html>\n", encoding="utf-8")
