"""The contract suites, for people who add a step, a task, a learner or workers in a package of their own. Our own
tests use them too.

A suite is a class of tests. In your tests, subclass it and give the fixture `case`:

    class TestSquares(StepSuite):
        @pytest.fixture
        def case(self):
            return StepCase(Squares(("age", "height"), 10.0), {"age": [3.0, None], "height": [1.5, 2.0]})

The part must be installed under its entry point. The suites need pytest, and the extras `train` and `openvino` of
lakewright. `pytest.register_assert_rewrite("lakewright.testing")` in your conftest.py, before the first import of
this package, makes pytest show the values of an assertion that fails.
"""

from lakewright.testing.folders import FolderCase, FolderSuite
from lakewright.testing.steps import StepCase, StepSuite, TransformSuite, TruthCase, TruthSuite
from lakewright.testing.tasks import TaskCase, TaskSuite, perfect_logits
from lakewright.testing.workers import WorkersCase, WorkersSuite

__all__ = [
    "FolderCase",
    "FolderSuite",
    "StepCase",
    "StepSuite",
    "TaskCase",
    "TaskSuite",
    "TransformSuite",
    "TruthCase",
    "TruthSuite",
    "WorkersCase",
    "WorkersSuite",
    "perfect_logits",
]
