# Databricks notebook source
# MAGIC %md
# MAGIC # Data
# MAGIC A project's source becomes a table, and the table features: cleaned, split and encoded. On Databricks, install
# MAGIC Lakewright first: `%pip install lakewright[train]`. Elsewhere, `python data.py` runs this as it is; a widget's
# MAGIC value is then LAKEWRIGHT_WIDGET_ and its name.

# COMMAND ----------

import lakewright as lw
from lakewright.pipeline import run_stage
from lakewright.targets.databricks.dbutils import dbutils

dbutils.widgets.text("project", "project.yml", "Project file")
dbutils.widgets.text("profile", "", "Profile in profiles.yml (empty: its default)")
dbutils.widgets.text("settings", "", "Settings laid over the file: train.seed=7 train.learning_rate=3e-5")
dbutils.widgets.text("run", "notebook", "Name of the run that this begins, and train goes on with")

# COMMAND ----------

project = lw.load_project(dbutils.widgets.get("project"), dbutils.widgets.get("settings").split())
workspace = lw.Workspace.open(lw.load_profile(dbutils.widgets.get("profile") or None, project.folder))
run = dbutils.widgets.get("run")
print(f"{project.name}: {project.table} → {project.features_table}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Source → table, pinned at a version

# COMMAND ----------

ingested = run_stage("ingest", project, workspace, run)
print(f"{ingested.table}: {ingested.table.rows:,} rows of {ingested.source}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Table → features: what is in each split, and what was noticed about the data

# COMMAND ----------

prepared = run_stage("prepare", project, workspace, run)
for split, rows in prepared.splits.items():
    print(f"{split}: {rows:,} rows, {prepared.label_counts.get(split, {})}")
for finding in prepared.findings:
    print(f"{finding.name}: {finding.count:,} — {finding.detail}")

# COMMAND ----------

dbutils.jobs.taskValues.set(key="features", value=str(prepared.features))
