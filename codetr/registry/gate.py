"""The promotion gate: decide whether a new model replaces the champion.

The gate compares one metric, measured under the same conditions on the same evaluation set for the same classes.
Whatever makes the comparison meaningless (another evaluation set, other conditions, other classes, a metric that is
missing or not a number) is a refusal with its reason, never a guess.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from codetr.core.errors import listed
from codetr.core.settings import Settings


@dataclass(frozen=True)
class EvaluatedModel:
    """The evaluation of a model, as far as the gate compares it.

    Attributes:
        metrics: by name, as in the summary of the evaluation.
        evaluation_set: digest of the images and annotations that the model was evaluated on; None if not recorded.
        class_names: the classes that the model detects, in order.
        model: digest of the model.
        conditions: settings of the evaluation, by name, that change the metrics. One that is not recorded counts as
            null.
    """

    metrics: Mapping[str, Any]
    evaluation_set: str | None
    class_names: Sequence[str]
    model: str
    conditions: Mapping[str, Any] = field(default_factory=dict)


class Verdict(Settings):
    """The decision of the gate, with the numbers it is based on.

    Attributes:
        promoted: whether the challenger becomes champion.
        reasons: why, or every reason why not.
        metric: name of the metric that is compared.
        challenger: the challenger's value; None if it has none.
        champion: the champion's value; None if it has none, or there is no champion.
        champion_version: the version that is the champion; None if there is none.
        min_improvement: the required improvement.
        floor: the required value; None for none.
        evaluation_set: digest of what the challenger was evaluated on.
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


def evaluate_gate(
    challenger: EvaluatedModel,
    champion: EvaluatedModel | None,
    champion_version: str | None = None,
    *,
    metric: str = "AP",
    min_improvement: float = 0.0,
    floor: float | None = None,
) -> Verdict:
    """Compare a challenger with the champion.

    The champion's model, evaluated on another evaluation set or under other conditions, passes without a comparison:
    the model in use stays the same, and later challengers are compared with the new evaluation.

    Args:
        challenger: the new model.
        champion: the champion; None if there is none, and then only the floor is checked.
        champion_version: its name, for the reasons.
        metric: name of the metric; higher is better.
        min_improvement: the challenger has to be better, and by at least this much.
        floor: a challenger below this value never passes.
    """
    new = _finite(challenger.metrics.get(metric))
    old = None if champion is None else _finite(champion.metrics.get(metric))
    refusals, reason = [], "the first version"
    if new == 0:
        reason += f"; its {metric} is 0: the setting floor refuses such models"
    if new is None:
        refusals.append(f"the challenger's {metric} is {_shown(challenger.metrics, metric)}")
    if new is not None and floor is not None and new < floor:
        refusals.append(f"{metric} {new:.4f} is below the floor of {floor:.4f}")
    if champion is not None and _same_model_evaluated_again(challenger, champion):
        other_set = challenger.evaluation_set != champion.evaluation_set
        how = "on another evaluation set" if other_set else "under other conditions"
        reason = f"the model of the champion {champion_version}, evaluated {how}"
    elif champion is not None:
        who = f"the champion {champion_version}" if champion_version else "the champion"
        refusals += incomparable(challenger, champion, who)
        if old is None:
            refusals.append(f"{metric} of {who} is {_shown(champion.metrics, metric)}")
        if new is not None and old is not None:
            if new <= old:
                refusals.append(f"{metric} {new:.4f} is not better than {old:.4f} of {who}")
            elif new - old < min_improvement:
                needed = f"the required improvement of {min_improvement:g}"
                refusals.append(f"{metric} {new:.4f} is better than {old:.4f} of {who}, but not by {needed}")
            reason = f"{metric} {new:.4f} is better than {old:.4f} of {who}"
    return Verdict(
        promoted=not refusals,
        reasons=tuple(refusals) or (reason,),
        metric=metric,
        challenger=new,
        champion=old,
        champion_version=champion_version,
        min_improvement=min_improvement,
        floor=floor,
        evaluation_set=challenger.evaluation_set,
    )


def _same_model_evaluated_again(challenger: EvaluatedModel, champion: EvaluatedModel) -> bool:
    """Whether both are one model, evaluated on two evaluation sets or under two conditions."""
    known = challenger.evaluation_set is not None and champion.evaluation_set is not None
    differs = challenger.evaluation_set != champion.evaluation_set or challenger.conditions != champion.conditions
    return challenger.model == champion.model and known and differs


def incomparable(challenger: EvaluatedModel, champion: EvaluatedModel, who: str) -> list[str]:
    """Return the reasons why the metrics of two models cannot be compared; empty if they can.

    Args:
        challenger: the new model.
        champion: the champion.
        who: what to call the champion.
    """
    reasons = []
    if challenger.evaluation_set is None or champion.evaluation_set is None:
        missing = "the challenger" if challenger.evaluation_set is None else who
        reasons.append(f"the evaluation of {missing} does not record its evaluation set")
    elif challenger.evaluation_set != champion.evaluation_set:
        reasons.append(
            f"{who} was evaluated on another evaluation set (other images or objects); evaluate it on this one first"
        )
    for name in sorted({*challenger.conditions, *champion.conditions}):
        ours, theirs = (json.dumps(side.conditions.get(name), sort_keys=True) for side in (challenger, champion))
        if ours != theirs:
            # More views of an image raise the metric of any model, padding in batches lowers it.
            conditions = f"it was evaluated with {name} {ours}, {who} with {theirs}"
            reasons.append(f"{conditions}; evaluate both under the same conditions")
    if list(challenger.class_names) != list(champion.class_names):
        new, old = set(challenger.class_names), set(champion.class_names)
        changes = [f"'{name}' is new" for name in sorted(new - old)]
        changes += [f"'{name}' is gone" for name in sorted(old - new)]
        shown = listed(changes, 6) or "the order differs"
        reasons.append(f"its classes are not those of {who}: {shown}; use another registry for other classes")
    return reasons


def _finite(value: Any) -> float | None:
    """Return the value as a number; None if it is none, or negative as COCO tools write where there are no objects."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return float(value)


def _shown(metrics: Mapping[str, Any], metric: str) -> str:
    return f"'{metrics[metric]}', which is not a metric's value" if metrics.get(metric) is not None else "missing"
