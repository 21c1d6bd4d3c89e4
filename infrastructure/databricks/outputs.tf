# What project.yml and profiles.yml need; README.md shows where each goes.
output "schema" {
  description = "project.yml: schema"
  value       = databricks_schema.this.id
}

output "workspace" {
  description = "profiles.yml: workspace"
  value       = "file:///Volumes/${var.catalog}/${var.schema}/${databricks_volume.this.name}"
}

output "run_as" {
  description = "profiles.yml: target.run_as"
  value       = databricks_service_principal.stages.application_id
}

output "policy" {
  description = "Id of the cluster policy, for clusters made by hand"
  value       = databricks_cluster_policy.this.id
}

output "secrets" {
  description = "profiles.yml: SCOPE in {{secrets/SCOPE/KEY}}"
  value       = databricks_secret_scope.this.name
}
