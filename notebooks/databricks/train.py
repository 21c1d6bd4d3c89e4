# Databricks notebook source
# MAGIC %md
# MAGIC # Train
# MAGIC Features become a model, measured on the test split and held against the gate; what passes is registered. It
# MAGIC goes on with the run that the notebook data began: `project`, `profile`, `settings` and `run` must be the same.

# COMMAND ----------

import lakewright as lw
from lakewright.pipeline import run_stage
from lakewright.targets.databricks.dbutils import dbutils

dbutils.widgets.text("project", "project.yml", "Project file")
dbutils.widgets.text("profile", "", "Profile in profiles.yml (empty: its default)")
dbutils.widgets.text("settings", "", "Settings laid over the file: train.seed=7 train.learning_rate=3e-5")
dbutils.widgets.text("run", "notebook", "Name of the run that the notebook data began")

# COMMAND ----------

project = lw.load_project(dbutils.widgets.get("project"), dbutils.widgets.get("settings").split())
workspace = lw.Workspace.open(lw.load_profile(dbutils.widgets.get("profile") or None, project.folder))
run = dbutils.widgets.get("run")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Features → model folder

# COMMAND ----------

trained = run_stage("train", project, workspace, run)
print(f"{trained.learner}: {trained.validation} on validation, {trained.model_folder}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Model folder → report, on the test split, with intervals

# COMMAND ----------

report = run_stage("evaluate", project, workspace, run)
for name, metric in report.metrics.items():
    print(f"{name}: {metric.value:.4f} ({metric.low:.4f} to {metric.high:.4f})")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Report → decision → model version

# COMMAND ----------

decision = run_stage("gate", project, workspace, run)
for check in decision.checks:
    print(f"{'passed' if check.passed else 'refused'}: {check.name} {check.detail}")
dbutils.jobs.taskValues.set(key="passed", value="true" if decision.passed else "false")

# COMMAND ----------

version = run_stage("register", project, workspace, run)
print(
    f"registered: {version}, {', '.join(version.aliases)}" if version else "the gate refused it: nothing is registered"
)
