"""The promotion gate: whether a new model may take the champion's place.

It compares one number, measured in the same way on the same evaluation set for the same classes. Whatever makes the
comparison meaningless (another evaluation set, another way of measuring, other classes, a metric that is missing or
not a number) is a refusal with its reason, never a guess.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from codetr.core.settings import Settings


@dataclass(frozen=True)
class Measured:
    """A model's figures, and what they were measured on.

    Attributes:
        metrics: by name, as in the summary of its evaluation.
        evaluation_set: digest of the images and annotations it was measured on.
        class_names: the classes it detects, in order.
        model: digest of the model.
        conditions: settings of the evaluation, by name, that change what is measured.
    """

    metrics: Mapping[str, Any]
    evaluation_set: str | None
    class_names: Sequence[str]
    model: str
    conditions: Mapping[str, Any] = field(default_factory=dict)


class Verdict(Settings):
    """What the gate decided, with the numbers it saw.

    Attributes:
        promoted: whether the challenger becomes champion.
        reasons: why, or every reason why not.
        metric: the name of the metric that counts.
        challenger: its value for the challenger; None when there is none.
        champion: its value for the champion; None when there is none.
        champion_version: the version it was compared with; None for the first.
        min_improvement: the improvement that was asked for.
        floor: the least value that was asked for.
        evaluation_set: the digest of what the challenger was measured on.
    """

    promoted: bool
    reasons: tuple[str, ...]
    metric: str
    challenger: float | None
    champion: float | None
    champion_version: str | None
    min_improvement: float
    floor: float | None
    evaluation_set: str | None


def judge(
    challenger: Measured,
    champion: Measured | None,
    champion_version: str | None = None,
    *,
    metric: str = "AP",
    min_improvement: float = 0.0,
    floor: float | None = None,
) -> Verdict:
    """Compare a challenger with the champion.

    The champion's own model, measured on another evaluation set or in another way, passes without a comparison: the
    model in use stays the same, and later challengers are compared with the new measurement.

    Args:
        challenger: the new model.
        champion: the present one; None when there is none, and then the floor alone decides.
        champion_version: its name, for the reasons.
        metric: higher is better.
        min_improvement: the challenger must be better, and by at least this much.
        floor: a challenger below this value never passes.
    """
    new = _finite(challenger.metrics.get(metric))
    old = None if champion is None else _finite(champion.metrics.get(metric))
    refusals, grounds = [], "the first version"
    if new is None:
        refusals.append(f"the challenger's {metric} is {_shown(challenger.metrics, metric)}")
    if new is not None and floor is not None and new < floor:
        refusals.append(f"{metric} {new:.4f} is below the floor of {floor:.4f}")
    if champion is not None and _measured_anew(challenger, champion):
        other_set = challenger.evaluation_set != champion.evaluation_set
        how = "on another evaluation set" if other_set else "in another way"
        grounds = f"the model of the champion {champion_version}, measured {how}"
    elif champion is not None:
        who = f"the champion {champion_version}" if champion_version else "the champion"
        refusals += _incomparable(challenger, champion, who)
        if old is None:
            refusals.append(f"{metric} of {who} is {_shown(champion.metrics, metric)}")
        if new is not None and old is not None:
            if new <= old:
                refusals.append(f"{metric} {new:.4f} is not better than {old:.4f} of {who}")
            elif new - old < min_improvement:
                needed = f"the improvement of at least {min_improvement:g} that is asked for"
                refusals.append(f"{metric} {new:.4f} is better than {old:.4f} of {who}, but not by {needed}")
            grounds = f"{metric} {new:.4f} is better than {old:.4f} of {who}"
    return Verdict(
        promoted=not refusals,
        reasons=tuple(refusals) or (grounds,),
        metric=metric,
        challenger=new,
        champion=old,
        champion_version=champion_version,
        min_improvement=min_improvement,
        floor=floor,
        evaluation_set=challenger.evaluation_set,
    )


def _measured_anew(challenger: Measured, champion: Measured) -> bool:
    """Whether both are one model, measured on two evaluation sets or in two ways."""
    known = challenger.evaluation_set is not None and champion.evaluation_set is not None
    anew = challenger.evaluation_set != champion.evaluation_set or challenger.conditions != champion.conditions
    return challenger.model == champion.model and known and anew


def _incomparable(challenger: Measured, champion: Measured, who: str) -> list[str]:
    """Reasons why the two numbers do not measure the same."""
    reasons = []
    if challenger.evaluation_set is None or champion.evaluation_set is None:
        missing = "the challenger" if challenger.evaluation_set is None else who
        reasons.append(f"it is not known on which evaluation set {missing} was measured")
    elif challenger.evaluation_set != champion.evaluation_set:
        reasons.append(f"{who} was measured on another evaluation set; evaluate it on this one first")
    for name in sorted({*challenger.conditions, *champion.conditions}):
        ours, theirs = (json.dumps(side.conditions.get(name), sort_keys=True) for side in (challenger, champion))
        if ours != theirs:
            # More views of an image raise the metric of any model, padding in batches lowers it.
            reasons.append(f"it was evaluated with {name} {ours}, {who} with {theirs}; evaluate both in the same way")
    if list(challenger.class_names) != list(champion.class_names):
        new, old = set(challenger.class_names), set(champion.class_names)
        changes = [f"'{name}' is new" for name in sorted(new - old)]
        changes += [f"'{name}' is gone" for name in sorted(old - new)]
        listed = ", ".join(changes[:6]) + (", …" if len(changes) > 6 else "")
        reasons.append(f"its classes are not those of {who}: {listed or 'the order differs'}")
    return reasons


def _finite(value: Any) -> float | None:
    """The value as a number, or None if nothing was measured: COCO tools write -1 where there are no objects."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return float(value)


def _shown(metrics: Mapping[str, Any], metric: str) -> str:
    return f"'{metrics[metric]}', which is no measurement" if metrics.get(metric) is not None else "missing"
