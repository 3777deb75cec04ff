"""Great Expectations over the three tables."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline import params
from pipeline.data.validation.checks import Check, checks
from pipeline.late import late
from pipeline.params import ValidateParams

if TYPE_CHECKING:
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.data_context.types import base as context_types
else:
    gx = late("great_expectations")
    gxe = late("great_expectations.expectations")
    context_types = late("great_expectations.data_context.types.base")


@dataclass(frozen=True)
class Finding:
    """What one expectation found: the rows that failed it, by position in the judged table."""

    check: str
    rows: list[int]


class Judge:
    """Great Expectations over data frames, in a context of its own that leaves only Data Docs behind."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
        self._folder = folder
        self._context = gx.get_context(mode="file", project_root_dir=folder)
        self._context.variables.progress_bars = context_types.ProgressBarsConfig(globally=False)
        self._context.variables.save()
        self._source = self._context.data_sources.add_pandas("radiographs")

    def judge(self, name: str, table: pd.DataFrame, expectations: list[Any]) -> list[Finding]:
        """Run one suite over one table; each expectation's `meta` names its check."""
        batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        suite = self._context.suites.add(gx.ExpectationSuite(name, expectations=expectations))
        definition = self._context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batch, suite=suite)
        )
        checkpoint = gx.Checkpoint(
            name=name,
            validation_definitions=[definition],
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["row"]},
        )
        numbered = table.assign(row=range(len(table)))
        outcome = self._context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": numbered})
        findings = []
        for result in next(iter(outcome.run_results.values())).results:
            meta = result.expectation_config.meta if result.expectation_config else {}
            if _raised(result.exception_info):
                raise RuntimeError(f"expectation {meta} raised: {result.exception_info}")
            rows = [int(entry["row"]) for entry in result.result.get("unexpected_index_list") or []]
            if not result.success and not rows:
                rows = [-1]  # a statement about the whole table
            findings.append(Finding(meta["check"], rows))
        return findings

    def pages(self) -> dict[str, str]:
        """The Data Docs page of each suite that was run, in order of running; built at this call."""
        self._context.build_data_docs()
        site = self._folder / "gx" / "uncommitted" / "data_docs" / "local_site" / "validations"
        pages = {path.parts[len(site.parts)]: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
        return {name: pages[name] for name in ("images", "classes", "features") if name in pages}


def _raised(information: Mapping[str, Any]) -> bool:
    """Whether an expectation met an exception, of its own or of one of its metrics (which stands one level deeper)."""
    parts = [information, *(part for part in information.values() if isinstance(part, Mapping))]
    return any(part.get("raised_exception") for part in parts)


def _expectation(check: Check, policy: str) -> Any:
    common: dict[str, Any] = {
        "column": check.column,
        "severity": "critical" if policy == "fail" else "warning",
        "meta": {"check": check.name},
        "notes": f"A file that {check.problem}: {policy}. {check.advice[:1].upper()}{check.advice[1:]}.",
    }
    if check.allowed is not None:
        return gxe.ExpectColumnValuesToBeInSet(value_set=list(check.allowed), **common)
    return gxe.ExpectColumnValuesToBeBetween(min_value=check.minimum, max_value=check.maximum, **common)


def judge_images(
    judge: Judge, table: pd.DataFrame, classes: Sequence[str], offenders: params.Offenders
) -> list[Finding]:
    """Which images fail which check; an empty table is a finding of its own."""
    suite = [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, meta={"check": "empty_table"}),
        *(_expectation(check, getattr(offenders, check.name)) for check in checks(classes)),
    ]
    return judge.judge("images", table, suite)


def judge_rest(judge: Judge, counts: pd.DataFrame, features: pd.DataFrame, limits: ValidateParams) -> list[Finding]:
    """Too small or too unequal classes, and features that give the label away."""

    def between(check: str, severity: Any, column: str, low: float | None, high: float | None) -> Any:
        return gxe.ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, severity=severity, meta={"check": check}
        )

    findings = judge.judge(
        "classes",
        counts,
        [
            between("min_per_class", "critical", "images", limits.min_per_class, None),
            between("class_imbalance", "warning", "times_smaller", None, limits.imbalance_ratio),
        ],
    )
    if len(features):
        shortcut = between("shortcut", "warning", "auroc", None, limits.shortcut_auroc)
        findings += judge.judge("features", features, [shortcut])
    return findings
