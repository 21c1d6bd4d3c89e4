# What profiles.yml needs; README.md shows where each goes.
output "subscription" {
  description = "profiles.yml: target.subscription"
  value       = var.subscription
}

output "resource_group" {
  description = "profiles.yml: target.resource_group"
  value       = azurerm_resource_group.this.name
}

output "ml_workspace" {
  description = "profiles.yml: target.workspace"
  value       = azurerm_machine_learning_workspace.this.name
}

output "workspace" {
  description = "profiles.yml: workspace"
  value       = "abfss://${azurerm_storage_container.lake.name}@${azurerm_storage_account.this.name}.dfs.core.windows.net/lakewright"
}

output "identity" {
  description = "profiles.yml: target.identity"
  value       = azurerm_user_assigned_identity.stages.id
}

output "registry" {
  description = "Where images are pushed"
  value       = azurerm_container_registry.this.login_server
}

output "vault" {
  description = "Where secrets are kept"
  value       = azurerm_key_vault.this.vault_uri
}
