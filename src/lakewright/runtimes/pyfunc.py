"""Models that were registered before the runtimes moved name this module as their loader."""

from lakewright.model.pyfunc import _load_pyfunc  # noqa: F401 - MLflow looks it up here
