"""The report of `fracture monitor` as one HTML file, with its plots inside."""

import io
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from pipeline.monitoring.drift import DISTANCE, MEANINGS, NAMES, PROBABILITY, expectations
from pipeline.monitoring.report import ASSUMPTIONS, MonitorReport, said
from pipeline.monitoring.window import Window
from serving.bundle import Bundle

_TEMPLATE = "monitor.html.jinja"
_STYLE: Any = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "monitor"}
_COLOURS = ("#00677f", "#b3261e", "#7a5c00", "#5b3c88", "#2e6b2e", "#8a3c6d")


def html(report: MonitorReport, now: Window, before: Window, bundle: Bundle) -> str:
    """The page: what moved, a table of the groups, distributions, volume, and measures with truth and without."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(_TEMPLATE).render(
        report=report,
        said=said,
        assumptions=ASSUMPTIONS,
        volume="" if now.scoring else volume(now, before),
        distributions=distributions(now, before, bundle),
    )


def volume(now: Window, before: Window) -> Markup:
    """Answers a day by site, as an SVG."""
    rows = [row for part in (before, now) for row in part.rows]
    first = min((row.at for row in rows), default=now.until)
    count = (now.until.date() - first.date()).days + 1
    # matplotlib takes dates; its types do not say so
    days: Any = [first.date() + timedelta(days=number) for number in range(count)]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 2.4), layout="constrained")
        axes = figure.subplots()
        for number, site in enumerate(sorted({row.site for row in rows})):
            counts = Counter(row.at.date() for row in rows if row.site == site)
            colour = _COLOURS[number % len(_COLOURS)]
            axes.plot(days, [counts[day] for day in days], ".-", color=colour, label=site or "(no site)")
        begin: Any = now.since.date()
        axes.axvline(begin, color="#7a8794", linewidth=0.8)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
        axes.set_ylabel("images a day")
        return _svg(figure)


def distributions(now: Window, before: Window, bundle: Bundle) -> Markup:
    """Distribution functions of training, of the time before and of now, one panel a statistic, as an SVG."""
    share = np.linspace(0, 1, 101)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 5.4), layout="constrained")
        for axes, name in zip(np.ravel(figure.subplots(2, 4)), NAMES, strict=True):
            axes.plot(expectations(bundle)[name], share, color="#7a8794", label="training")
            for part, colour, label in ((before, "#c7a252", "before"), (now, "#00677f", "now")):
                values = np.sort(part.probabilities() if name == PROBABILITY else part.statistic(name))
                if len(values):
                    axes.plot(values, np.arange(1, len(values) + 1) / len(values), color=colour, label=label)
            axes.set_title("texture" if name == DISTANCE else name)
            axes.set_xlabel(MEANINGS[name])
        figure.axes[0].set_ylabel("share of images up to this value")
        figure.axes[0].legend(frameon=False)
        return _svg(figure)


def _svg(figure: Figure) -> Markup:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    drawn = buffer.getvalue()
    return Markup(drawn[drawn.index("<svg") :])  # noqa: S704  matplotlib escapes the labels that it draws
