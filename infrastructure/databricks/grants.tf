# What each may do. A grant here is all that its principal has on the thing; what others have stays as it is. Privileges
# on the schema hold for what is in it: EXECUTE is to load its models.
locals {
  privileges = {
    stages = {
      principal = databricks_service_principal.stages.application_id
      schema = [
        "CREATE_MODEL", "CREATE_TABLE", "CREATE_VOLUME", "EXECUTE", "MODIFY", "READ_VOLUME", "SELECT", "USE_SCHEMA",
        "WRITE_VOLUME",
      ]
    }
    readers = {
      principal = var.readers
      schema    = ["EXECUTE", "READ_VOLUME", "SELECT", "USE_SCHEMA"]
    }
    approvers = {
      principal = var.approvers
      schema    = ["APPLY_TAG", "EXECUTE", "SELECT", "USE_SCHEMA"]
    }
  }
}

resource "databricks_grant" "catalog" {
  for_each   = local.privileges
  catalog    = databricks_catalog.this.name
  principal  = each.value.principal
  privileges = ["USE_CATALOG"]
}

resource "databricks_grant" "schema" {
  for_each   = local.privileges
  schema     = databricks_schema.this.id
  principal  = each.value.principal
  privileges = each.value.schema
}

# A deployment job sets tags and aliases of the models that were made here: the stages' principal made the others.
resource "databricks_grant" "model" {
  for_each   = databricks_registered_model.this
  model      = each.value.id
  principal  = databricks_service_principal.stages.application_id
  privileges = ["APPLY_TAG", "EXECUTE", "MANAGE"]
}
