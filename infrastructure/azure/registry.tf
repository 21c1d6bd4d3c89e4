# Images of stages and endpoints. Premium, for no other tier takes private endpoints.
resource "azurerm_container_registry" "this" {
  name                          = "${local.plain}${var.unique}"
  resource_group_name           = azurerm_resource_group.this.name
  location                      = azurerm_resource_group.this.location
  sku                           = "Premium"
  admin_enabled                 = false
  anonymous_pull_enabled        = false
  public_network_access_enabled = false
  network_rule_bypass_option    = "AzureServices"
  retention_policy_in_days      = 14

  network_rule_set {
    default_action = "Deny"
  }
}
