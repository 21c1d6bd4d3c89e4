# Azure ML. Its computers are in a network that Azure keeps, from which only approved addresses are reached. The target
# makes compute clusters, environments, endpoints and schedules: they belong to a project.
resource "azurerm_machine_learning_workspace" "this" {
  name                          = var.name
  resource_group_name           = azurerm_resource_group.this.name
  location                      = azurerm_resource_group.this.location
  storage_account_id            = azurerm_storage_account.this.id
  storage_account_access_type   = "Identity"
  key_vault_id                  = azurerm_key_vault.this.id
  application_insights_id       = azurerm_application_insights.this.id
  container_registry_id         = azurerm_container_registry.this.id
  public_network_access_enabled = false

  identity {
    type = "SystemAssigned"
  }

  managed_network {
    isolation_mode = "AllowOnlyApprovedOutbound"
  }
}

resource "azurerm_machine_learning_workspace_network_outbound_rule_fqdn" "this" {
  for_each         = var.outbound
  name             = replace(replace(each.key, "*", "any"), ".", "-")
  workspace_id     = azurerm_machine_learning_workspace.this.id
  destination_fqdn = each.key
}
