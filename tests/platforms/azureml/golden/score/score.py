from lakewright.targets.azureml.score import init, run  # noqa: F401
