variable "name" {
  description = "Begins the name of everything made here that is in no catalog."
  type        = string
  default     = "lakewright"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.name))
    error_message = "Use 2 to 21 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "catalog" {
  description = "Unity Catalog's catalog, made here; the first part of a project's `schema`."
  type        = string
  default     = "lakewright"
  validation {
    condition     = can(regex("^[a-z_][a-z0-9_]{0,254}$", var.catalog))
    error_message = "Use lower-case letters, digits and underscores."
  }
}

variable "schema" {
  description = "Schema in the catalog; the second part of a project's `schema`."
  type        = string
  default     = "main"
  validation {
    condition     = can(regex("^[a-z_][a-z0-9_]{0,254}$", var.schema))
    error_message = "Use lower-case letters, digits and underscores."
  }
}

variable "volume" {
  description = "Volume in the schema, where profiles.yml has the workspace."
  type        = string
  default     = "lakewright"
  validation {
    condition     = can(regex("^[a-z_][a-z0-9_]{0,254}$", var.volume))
    error_message = "Use lower-case letters, digits and underscores."
  }
}

variable "storage" {
  description = "Where the catalog's files lie: s3://bucket/prefix or abfss://container@account.dfs.core.windows.net/prefix."
  type        = string
  validation {
    condition     = can(regex("^(s3|abfss)://[^/]+/.+$", var.storage))
    error_message = "s3://bucket/prefix or abfss://container@account.dfs.core.windows.net/prefix."
  }
}

variable "aws_role" {
  description = "ARN of the IAM role by which Databricks reads and writes `storage`; null on Azure."
  type        = string
  default     = null
}

variable "azure_connector" {
  description = "Resource id of the access connector by which Databricks reads and writes `storage`; null on AWS."
  type        = string
  default     = null
}

variable "models" {
  description = "Registered models made here, in the schema. A bundle makes its own: name those that it shall find."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for model in var.models : can(regex("^[a-z_][a-z0-9_]{0,254}$", model))])
    error_message = "Use lower-case letters, digits and underscores."
  }
}

variable "readers" {
  description = "Group that may read tables and models; it has to exist."
  type        = string
}

variable "approvers" {
  description = "Group that approves model versions; it has to exist."
  type        = string
}

variable "node_types" {
  description = "Machines that the cluster policy allows, by the cloud's names; the first is the default."
  type        = list(string)
  validation {
    condition     = length(var.node_types) > 0
    error_message = "At least one."
  }
}

variable "most_workers" {
  description = "Workers of a cluster at most."
  type        = number
  default     = 4
  validation {
    condition     = var.most_workers >= 1 && var.most_workers <= 100
    error_message = "1 to 100."
  }
}

variable "warehouse" {
  description = "Whether to make a SQL warehouse, to look at the tables; stages need none."
  type        = bool
  default     = false
}
