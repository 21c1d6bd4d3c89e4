# Secrets, by roles alone. What is deleted can be brought back for 90 days, and not be gone before.
resource "azurerm_key_vault" "this" {
  name                          = "${substr(local.plain, 0, 12)}-${var.unique}"
  resource_group_name           = azurerm_resource_group.this.name
  location                      = azurerm_resource_group.this.location
  tenant_id                     = data.azurerm_client_config.here.tenant_id
  sku_name                      = "standard"
  rbac_authorization_enabled    = true
  purge_protection_enabled      = true
  soft_delete_retention_days    = 90
  public_network_access_enabled = false

  network_acls {
    default_action = "Deny"
    bypass         = "AzureServices"
  }
}
