# By what right Databricks reads and writes the storage, and which part of it.
resource "databricks_storage_credential" "this" {
  name    = var.name
  comment = "Of the catalog ${var.catalog}"

  dynamic "aws_iam_role" {
    for_each = var.aws_role[*]
    content {
      role_arn = aws_iam_role.value
    }
  }

  dynamic "azure_managed_identity" {
    for_each = var.azure_connector[*]
    content {
      access_connector_id = azure_managed_identity.value
    }
  }

  lifecycle {
    precondition {
      condition     = (var.aws_role == null) != (var.azure_connector == null)
      error_message = "Give aws_role or azure_connector, and not both."
    }
  }
}

resource "databricks_external_location" "this" {
  name            = var.name
  url             = var.storage
  credential_name = databricks_storage_credential.this.name
  comment         = "Files of the catalog ${var.catalog}"
}
