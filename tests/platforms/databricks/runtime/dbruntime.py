"""dbutils, where databricks.sdk.runtime looks for it on a Databricks machine. The runner reads its task values."""

import json
import os


class TaskValues:
    def set(self, key, value):
        with open(os.environ["TASK_VALUES"], "a") as file:  # noqa: PTH123
            file.write(json.dumps({key: value}) + "\n")


class Jobs:
    taskValues = TaskValues()  # noqa: N815


class DbUtils:
    jobs = Jobs()


class UserNamespaceInitializer:
    @classmethod
    def getOrCreate(cls):  # noqa: N802
        return cls()

    def get_namespace_globals(self):
        return {"dbutils": DbUtils()}
