"""The outcome of a verification: one line a check, for people and for machines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zoo_registry


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: What was checked; OpenKIM's name where it has the check.
        value: The largest deviation found; NaN where the model could not be asked.
        tolerance: The largest that is accepted.
        unit: Unit of both.
        backend: What was checked, and in which precision.
        note: Why the model could not be asked, or nothing.
    """

    name: str
    value: float
    tolerance: float
    unit: str
    backend: str
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the deviation is a number and small enough."""
        return bool(self.value <= self.tolerance)

    @property
    def grade(self) -> str:
        """``P`` or ``F``, as OpenKIM marks a check that is passed or failed."""
        return "P" if self.passed else "F"

    def __str__(self) -> str:
        found = f"deviates by {self.value:.3g} {self.unit}, at most {self.tolerance:.1g} is accepted"
        return f"{self.name} ({self.backend}) {found}{f': {self.note}' if self.note else ''}"

    def line(self) -> dict[str, Any]:
        """Return the check as plain values."""
        finite = self.value == self.value and abs(self.value) != float("inf")
        return asdict(self) | {
            "value": self.value if finite else None,
            "passed": self.passed,
            "grade": self.grade,
        }


@dataclass
class Report:
    """All checks of a model.

    Attributes:
        model: ``name@version``.
        checks: What was checked.
        left_out: What was not checked, with the reason.
        forced: Whether the release was written although a check failed.
    """

    model: str
    checks: list[Check] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    forced: bool = False

    @property
    def failed(self) -> list[Check]:
        """The checks that were not passed."""
        return [check for check in self.checks if not check.passed]

    def document(self) -> dict[str, Any]:
        """Return the contents of ``verification.json``."""
        return {
            "schema": 1,
            "model": self.model,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "package_version": zoo_registry.__version__,
            "passed": not self.failed,
            "forced": self.forced,
            "checks": [check.line() for check in self.checks],
            "not_checked": [{"name": name, "reason": reason} for name, reason in self.left_out.items()],
        }

    def write(self, path: Path) -> None:
        """Write ``verification.json``."""
        text = json.dumps(self.document(), indent=1, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")

    def rows(self) -> list[list[str]]:
        """Return the cells of a table under `TITLES`."""
        return [
            [
                check.name,
                "pass" if check.passed else "FAIL",
                f"{check.value:.1e}",
                f"{check.tolerance:.0e}",
                check.unit,
                check.backend,
            ]
            for check in self.checks
        ]


TITLES = ["check", "result", "largest deviation", "tolerance", "unit", "backend"]
