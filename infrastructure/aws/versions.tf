# Terraform >= 1.9 or OpenTofu >= 1.9. The provider is the one whose schema `make check` holds these files against.
terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "6.69.1"
    }
  }
}

provider "aws" {
  region = var.region
  default_tags {
    tags = { project = var.name }
  }
}
