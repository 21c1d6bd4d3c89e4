# The scope alone. What is secret never goes through Terraform, whose state would hold it:
#   databricks secrets put-secret SCOPE tracking_token
# and profiles.yml refers to it: environment: {MLFLOW_TRACKING_TOKEN: "{{secrets/SCOPE/tracking_token}}"}
resource "databricks_secret_scope" "this" {
  name = var.name
}

resource "databricks_secret_acl" "stages" {
  scope      = databricks_secret_scope.this.name
  principal  = databricks_service_principal.stages.application_id
  permission = "READ"
}
