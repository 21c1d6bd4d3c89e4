variable "subscription" {
  description = "Id of the subscription."
  type        = string
  validation {
    condition     = can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.subscription))
    error_message = "A subscription's id, such as az account show --query id prints."
  }
}

variable "location" {
  description = "Azure region, such as westeurope."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9]+$", var.location))
    error_message = "Name a region as Azure does: westeurope."
  }
}

variable "name" {
  description = "Begins the name of everything made here."
  type        = string
  default     = "lakewright"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,14}$", var.name))
    error_message = "Use 2 to 15 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "unique" {
  description = "Ends the names that are unique in all of Azure: storage account, registry, key vault."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9]{3,8}$", var.unique))
    error_message = "Use 3 to 8 lower-case letters and digits."
  }
}

variable "network" {
  description = "IPv4 range of the virtual network; one /24 subnet of private endpoints is cut from it."
  type        = string
  default     = "10.30.0.0/16"
  validation {
    condition     = can(cidrhost(var.network, 0)) && can(regex("/16$", var.network))
    error_message = "A /16 range: 10.30.0.0/16."
  }
}

variable "outbound" {
  description = "Host names that jobs may reach outside of Azure: the tracking server, where packages come from."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for host in var.outbound : can(regex("^([*][.])?[a-z0-9-]+([.][a-z0-9-]+)+$", host))])
    error_message = "Host names without https://; one star at the front at most."
  }
}

variable "operators" {
  description = "Object id of the group that deploys projects and reads the lake."
  type        = string
  validation {
    condition     = can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.operators))
    error_message = "A group's object id in Entra ID."
  }
}

variable "email" {
  description = "Who hears of the budget."
  type        = string
  validation {
    condition     = can(regex("^[^@ ]+@[^@ ]+$", var.email))
    error_message = "An e-mail address."
  }
}

variable "monthly_budget" {
  description = "A month, in the subscription's currency; at 80 % spent and at 100 % forecast an e-mail is sent. It stops nothing."
  type        = number
  validation {
    condition     = var.monthly_budget > 0
    error_message = "More than nothing."
  }
}

variable "budget_from" {
  description = "First day of the month that the budget begins in: 2026-12-01."
  type        = string
  validation {
    condition     = can(regex("^20[0-9]{2}-(0[1-9]|1[0-2])-01$", var.budget_from))
    error_message = "The first of a month: 2026-12-01."
  }
}
