# Tables, files and models of the projects. `isolation_mode`: this workspace alone sees the catalog.
resource "databricks_catalog" "this" {
  name           = var.catalog
  storage_root   = databricks_external_location.this.url
  isolation_mode = "ISOLATED"
  comment        = "Lakewright"
}

resource "databricks_schema" "this" {
  catalog_name = databricks_catalog.this.name
  name         = var.schema
  comment      = "Tables, features, predictions and models"
}

resource "databricks_volume" "this" {
  catalog_name = databricks_catalog.this.name
  schema_name  = databricks_schema.this.name
  name         = var.volume
  volume_type  = "MANAGED"
  comment      = "Workspace: records, encodings, model folders"
}

resource "databricks_registered_model" "this" {
  for_each     = var.models
  catalog_name = databricks_catalog.this.name
  schema_name  = databricks_schema.this.name
  name         = each.key
}
