"""What the page of a search draws of its parameters: where the trials lie in each, and how much each matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lakewright.pages.tuning import TriedParameter
from lakewright.spaces import Choice, Distribution, Option, Parameter, PChoice, parameters
from lakewright.tuning.samplers import study_of
from lakewright.tuning.trials import Trial

LEAST = 8  # trials from which an importance is computed


def tried_parameters(space: Mapping[str, Parameter], trials: Sequence[Trial]) -> list[TriedParameter]:
    """Each parameter that two trials have with different values, in the space's order."""
    importances = _importances(space, trials)
    found = []
    for label, distribution in parameters(space).items():
        places = {trial.number: distribution.share(trial.point[label]) for trial in trials if label in trial.point}
        if len({*places.values()}) > 1:
            low, high = _ends(distribution)
            found.append(TriedParameter(label, low, high, places, importances.get(label)))
    return found


def _importances(space: Mapping[str, Parameter], trials: Sequence[Trial]) -> dict[str, float]:
    """Of the parameters that every measured trial has; by Optuna's fANOVA. None with too few trials, or of one loss."""
    measured = [trial for trial in trials if trial.loss is not None and trial.point]
    shared = set.intersection(*({*trial.point} for trial in measured)) if measured else set()
    varied = [label for label in shared if len({trial.point[label] for trial in measured}) > 1]
    if len(measured) < LEAST or not varied or len({trial.loss for trial in measured}) < 2:
        return {}
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    study = study_of(space, measured)
    evaluator = FanovaImportanceEvaluator(seed=0)
    found = get_param_importances(study, evaluator=evaluator, params=sorted(varied))
    return {label: float(importance) for label, importance in found.items()}


def _ends(distribution: Distribution) -> tuple[str, str]:
    if isinstance(distribution, Choice | PChoice):
        named = [each.value if isinstance(each, Option) else each for each in distribution.options]
        return str(named[0])[:16], str(named[-1])[:16]
    return f"{distribution.at(0.0):.4g}", f"{distribution.at(1.0):.4g}"
