"""What a deployment job's tasks run: `check` until a model version is approved, then `promote` it.

Databricks starts the job for each new version of the model that it is connected to. `check` fails while the version
lacks the tag that the Approve button sets (the task's name, `approved`), and approving repairs the run:
https://docs.databricks.com/aws/en/mlflow/deployment-job. It is uploaded as it is and imports nothing of Lakewright.
"""

import sys


def check(registry: str, model: str, version: str, tag: str) -> None:
    from mlflow.tracking import MlflowClient

    tags = MlflowClient(registry_uri=registry).get_model_version(model, version).tags
    if tags.get(tag, "").lower() != "approved":
        raise PermissionError(f"{model} version {version} is not approved: its tag {tag} is {tags.get(tag)!r}")


def promote(registry: str, model: str, version: str, endpoint: str = "") -> None:
    """The version becomes the champion, and what the endpoint serves as the champion."""
    from mlflow.tracking import MlflowClient

    MlflowClient(registry_uri=registry).set_registered_model_alias(model, "champion", version)
    if not endpoint:
        return
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.errors import NotFound

    client = WorkspaceClient()
    path = f"/api/2.0/serving-endpoints/{endpoint}"
    try:
        config = client.api_client.do("GET", path)["config"]
    except NotFound:
        print(f"the endpoint {endpoint} is not there yet: `lakewright deploy` makes it")
        return
    asked = ("name", "entity_name", "entity_version", "workload_size", "workload_type", "scale_to_zero_enabled")
    served = [{name: entity[name] for name in asked if name in entity} for entity in config["served_entities"]]
    for entity in served:
        if entity["name"] == "champion":
            if entity["entity_name"] != model:
                raise PermissionError(
                    f"the endpoint {endpoint} serves {entity['entity_name']}, not {model}: it is left as it is"
                )
            entity["entity_version"] = version
    body = {"served_entities": served, "traffic_config": config["traffic_config"]}
    client.api_client.do("PUT", f"{path}/config", body=body)


if __name__ == "__main__":
    if sys.argv[1] == "check":
        check(*sys.argv[2:])
    else:
        promote(*sys.argv[2:])
