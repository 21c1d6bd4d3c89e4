from lakewright.targets.azureml.score import init  # noqa: F401
from lakewright.targets.azureml.score import run_batch as run  # noqa: F401
