# Terraform >= 1.9 or OpenTofu >= 1.9. The provider is the one whose schema `make check` holds these files against.
# Who acts, and where, comes from the environment: DATABRICKS_HOST and a sign-in of the Databricks CLI.
terraform {
  required_version = ">= 1.9"
  required_providers {
    databricks = {
      source  = "databricks/databricks"
      version = "1.138.0"
    }
  }
}

provider "databricks" {}
