variable "name" {
  description = "Begins the name of everything made here."
  type        = string
  default     = "lakewright"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.name))
    error_message = "Use 2 to 21 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "region" {
  description = "AWS region, such as eu-central-1."
  type        = string
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "Name a region as AWS does: eu-central-1."
  }
}

variable "bucket" {
  description = "Name of the bucket that is made; unique in all of AWS."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "Use 3 to 63 lower-case letters, digits and hyphens; dots break TLS names."
  }
}

variable "prefix" {
  description = "Folder of the bucket that the roles may use: workspace and tables lie under it."
  type        = string
  default     = "lakewright"
  validation {
    condition     = can(regex("^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", var.prefix))
    error_message = "A path without a slash at its ends: lakewright, teams/nlp."
  }
}

variable "endpoint" {
  description = "Name of the SageMaker endpoint, as profiles.yml has it; alarms and dashboard watch it."
  type        = string
  default     = "lakewright"
  validation {
    condition     = can(regex("^[A-Za-z0-9](-*[A-Za-z0-9]){0,62}$", var.endpoint))
    error_message = "Up to 63 letters, digits and hyphens, as SageMaker allows."
  }
}

variable "group" {
  description = "Name of the model package group, as profiles.yml has it; default there is the model's name."
  type        = string
  default     = "lakewright"
  validation {
    condition     = can(regex("^[A-Za-z0-9](-*[A-Za-z0-9]){0,62}$", var.group))
    error_message = "Up to 63 letters, digits and hyphens, as SageMaker allows."
  }
}

variable "database" {
  description = "Glue database that the pipeline may write, as the project's schema names it, where the catalog is Glue."
  type        = string
  default     = "lakewright"
  validation {
    condition     = can(regex("^[a-z0-9_]{1,255}$", var.database))
    error_message = "Lower-case letters, digits and underscores."
  }
}

variable "network" {
  description = "IPv4 range of the VPC; two /20 subnets are cut from it."
  type        = string
  default     = "10.20.0.0/16"
  validation {
    condition     = can(cidrhost(var.network, 0)) && can(regex("/16$", var.network))
    error_message = "A /16 range: 10.20.0.0/16."
  }
}

variable "email" {
  description = "Who hears of alarms and of the budget; AWS asks that address to confirm."
  type        = string
  validation {
    condition     = can(regex("^[^@ ]+@[^@ ]+$", var.email))
    error_message = "An e-mail address."
  }
}

variable "monthly_budget" {
  description = "US dollars a month; at 80 % spent and at 100 % forecast an e-mail is sent. It stops nothing."
  type        = number
  validation {
    condition     = var.monthly_budget > 0
    error_message = "More than nothing."
  }
}

variable "latency_ms" {
  description = "The slowest 1 % of requests may take this long in the model before the alarm."
  type        = number
  default     = 500
  validation {
    condition     = var.latency_ms > 0
    error_message = "More than nothing."
  }
}

variable "log_days" {
  description = "How long the endpoint's log is kept."
  type        = number
  default     = 90
  validation {
    condition     = contains([30, 60, 90, 180, 365, 731], var.log_days)
    error_message = "One of 30, 60, 90, 180, 365, 731."
  }
}
