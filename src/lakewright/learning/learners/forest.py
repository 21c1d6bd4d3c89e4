"""A forest: the mean of many trees, each grown on other rows and columns (Breiman 2001), by scikit-learn.

It needs no validation to stop and hardly any setting. `extra` trees also draw their thresholds (Geurts et al. 2006).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from lakewright.learning.learners import Fitted, Learner, Training
from lakewright.learning.learners.trees import BoostedTrees, matrix_of
from lakewright.settings.sections import LearnerSettings
from lakewright.system.progress import bar

if TYPE_CHECKING:
    from lakewright.data.rows.kinds import Kind

AT_ONCE = 10  # trees between two moves of the progress bar


class ForestSettings(LearnerSettings):
    learner: Literal["forest"] = "forest"
    n_estimators: int = Field(default=300, ge=1, description="trees")
    extra: bool = Field(default=False, description="extremely randomised trees: thresholds are drawn, not searched")
    max_features: Literal["sqrt", "log2", "all"] | float = Field(
        default="sqrt", description="columns that each split looks at; a number: a share of them"
    )
    max_depth: int | None = Field(default=None, ge=1, description="none: no limit")
    min_samples_leaf: int = Field(default=2, ge=1, description="rows in a leaf at least; more make the model smaller")
    loss: Literal["auto", "cross_entropy", "l2"] = "auto"
    seed: int = 13


class Forest:
    name = "forest"
    settings = ForestSettings
    sizes: Mapping[str, Mapping[str, Any]] = {}
    reads: Mapping[Kind, str] = {**BoostedTrees.reads, "category": "dense"}
    truths = ("class", "number")
    gaps: Mapping[str, str] = {"labels": "not-yet: one forest for each label", **BoostedTrees.gaps}
    needs = BoostedTrees.needs
    vocabulary = None

    def recipe_depends(self, settings: ForestSettings, base: Path) -> dict[str, Any]:
        return {}

    def fit(self, training: Training[ForestSettings]) -> Fitted:
        from sklearn import ensemble

        from lakewright.learning.ensembles import from_forest
        from lakewright.learning.tree_folder import leave

        settings = training.settings
        classes = training.task.truth == "class"
        kind = "Classifier" if classes else "Regressor"
        forest = getattr(ensemble, f"{'ExtraTrees' if settings.extra else 'RandomForest'}{kind}")(
            n_estimators=0,
            max_features=None if settings.max_features == "all" else settings.max_features,
            max_depth=settings.max_depth,
            min_samples_leaf=settings.min_samples_leaf,
            random_state=settings.seed,
            n_jobs=training.threads,
            warm_start=True,
        )
        columns, targets = matrix_of(training.train), training.train.targets.values
        with bar("trees", settings.n_estimators) as advance:
            for grown in range(0, settings.n_estimators, AT_ONCE):
                forest.n_estimators = min(grown + AT_ONCE, settings.n_estimators)
                forest.fit(columns, targets, sample_weight=training.train.weights)
                advance(forest.n_estimators - grown, "")
        trees = from_forest(forest)
        leave(trees, columns.shape[1], "probabilities" if classes else "margins", training.folder)
        return Fitted(details={"trees": len(trees.root), "leaves": len(trees.leaf_cover)})


LEARNER: Learner = Forest()
