# Who the stages act as: profiles.yml has it as target.run_as. It may not make clusters other than the policy's.
resource "databricks_service_principal" "stages" {
  display_name         = "${var.name}-stages"
  allow_cluster_create = false
  workspace_access     = true
}
