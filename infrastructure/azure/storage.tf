# Workspace and tables, and Azure ML's own files. A flat namespace, for Azure keeps versions of files only there; it is
# read as abfss:// all the same. Identities open it, keys do not.
resource "azurerm_storage_account" "this" {
  name                             = "${local.plain}${var.unique}"
  resource_group_name              = azurerm_resource_group.this.name
  location                         = azurerm_resource_group.this.location
  account_kind                     = "StorageV2"
  account_tier                     = "Standard"
  account_replication_type         = "ZRS"
  is_hns_enabled                   = false
  https_traffic_only_enabled       = true
  min_tls_version                  = "TLS1_2"
  allow_nested_items_to_be_public  = false
  cross_tenant_replication_enabled = false
  default_to_oauth_authentication  = true
  shared_access_key_enabled        = false
  public_network_access            = "Disabled"

  blob_properties {
    versioning_enabled = true
    delete_retention_policy {
      days = 30
    }
    container_delete_retention_policy {
      days = 30
    }
  }

  network_rules {
    default_action = "Deny"
    bypass         = ["AzureServices"]
  }
}

resource "azurerm_storage_container" "lake" {
  name                  = "lake"
  storage_account_id    = azurerm_storage_account.this.id
  container_access_type = "private"
}

resource "azurerm_storage_management_policy" "this" {
  storage_account_id = azurerm_storage_account.this.id

  rule {
    name    = "tiering"
    enabled = true
    filters {
      blob_types   = ["blockBlob"]
      prefix_match = ["lake/"]
    }
    actions {
      base_blob {
        tier_to_cool_after_days_since_modification_greater_than = 30
      }
      version {
        change_tier_to_cool_after_days_since_creation = 30
        delete_after_days_since_creation              = 180
      }
    }
  }
}
