data "azurerm_client_config" "here" {}

resource "azurerm_resource_group" "this" {
  name     = var.name
  location = var.location
  tags     = { project = var.name }
}

locals {
  plain = replace(var.name, "-", "") # storage accounts and registries take no hyphen
}
