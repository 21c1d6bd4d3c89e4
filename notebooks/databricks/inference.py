# Databricks notebook source
# MAGIC %md
# MAGIC # Inference
# MAGIC A model version answers a few texts, and scores a table's new rows into a predictions table: each row once.

# COMMAND ----------

import lakewright as lw
from lakewright.model.folder import sample_rows
from lakewright.targets.databricks.dbutils import dbutils

dbutils.widgets.text("model", "models:/main.demo.things@champion", "Model version")
dbutils.widgets.text("profile", "", "Profile in profiles.yml (empty: its default)")
dbutils.widgets.text("text", "", "A text to ask about (empty: the model's own examples)")
dbutils.widgets.text("input", "", "Table to score, catalog.schema.table (empty: none)")
dbutils.widgets.text("output", "", "Predictions table (empty: the input's name and _predictions)")
dbutils.widgets.dropdown("full", "no", ["no", "yes"], "All rows anew")

# COMMAND ----------

model, profile = dbutils.widgets.get("model"), dbutils.widgets.get("profile") or None
predictor = lw.load(model, profile=profile)

# COMMAND ----------

text = dbutils.widgets.get("text")
rows = [text] if text else sample_rows(predictor.folder)
answers = predictor.predict(rows)
for row, answer in zip(rows, answers, strict=True):
    print(row, "→", answer)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Table → predictions

# COMMAND ----------

table = dbutils.widgets.get("input")
if table:
    output, full = dbutils.widgets.get("output") or None, dbutils.widgets.get("full") == "yes"
    scored = lw.score(model, table, output, full=full, profile=profile)
    print(f"{scored.rows:,} rows → {scored.output}, by {scored.model}")
