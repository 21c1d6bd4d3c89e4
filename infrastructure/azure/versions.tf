# Terraform >= 1.9 or OpenTofu >= 1.9. The provider is the one whose schema `make check` holds these files against.
terraform {
  required_version = ">= 1.9"
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "5.10.0"
    }
  }
}

# Containers are made with the caller's own identity, for the account's keys are switched off.
provider "azurerm" {
  subscription_id     = var.subscription
  storage_use_azuread = true
  features {}
}
