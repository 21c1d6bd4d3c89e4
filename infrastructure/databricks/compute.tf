# Which clusters people and jobs may make: with Unity Catalog, of the allowed machines, gone after two idle hours.
resource "databricks_cluster_policy" "this" {
  name = var.name
  definition = jsonencode({
    autotermination_minutes = { type = "range", minValue = 10, maxValue = 120, defaultValue = 120 }
    data_security_mode      = { type = "allowlist", values = ["SINGLE_USER", "USER_ISOLATION"], defaultValue = "SINGLE_USER" }
    node_type_id            = { type = "allowlist", values = var.node_types, defaultValue = var.node_types[0] }
    driver_node_type_id     = { type = "allowlist", values = var.node_types, isOptional = true }
    "autoscale.min_workers" = { type = "range", minValue = 0, maxValue = 1, defaultValue = 1 }
    "autoscale.max_workers" = { type = "range", maxValue = var.most_workers, defaultValue = var.most_workers }
    "custom_tags.project"   = { type = "fixed", value = var.name }
  })
}

resource "databricks_permissions" "policy" {
  cluster_policy_id = databricks_cluster_policy.this.id

  access_control {
    service_principal_name = databricks_service_principal.stages.application_id
    permission_level       = "CAN_USE"
  }

  access_control {
    group_name       = var.readers
    permission_level = "CAN_USE"
  }
}

resource "databricks_sql_endpoint" "this" {
  count                     = var.warehouse ? 1 : 0
  name                      = var.name
  cluster_size              = "2X-Small"
  min_num_clusters          = 1
  max_num_clusters          = 1
  auto_stop_mins            = 10
  enable_serverless_compute = true
}
