# Who the stages and endpoints act as: profiles.yml has it as target.identity. Azure itself gives the workspace's own
# identity its roles.
resource "azurerm_user_assigned_identity" "stages" {
  name                = "${var.name}-stages"
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
}

# Each role on one thing; none on the group or the subscription.
locals {
  roles = {
    stages-lake       = { who = azurerm_user_assigned_identity.stages.principal_id, role = "Storage Blob Data Contributor", on = azurerm_storage_container.lake.id }
    stages-images     = { who = azurerm_user_assigned_identity.stages.principal_id, role = "AcrPull", on = azurerm_container_registry.this.id }
    stages-secrets    = { who = azurerm_user_assigned_identity.stages.principal_id, role = "Key Vault Secrets User", on = azurerm_key_vault.this.id }
    stages-workspace  = { who = azurerm_user_assigned_identity.stages.principal_id, role = "AzureML Data Scientist", on = azurerm_machine_learning_workspace.this.id }
    operators-lake    = { who = var.operators, role = "Storage Blob Data Contributor", on = azurerm_storage_container.lake.id }
    operators-machine = { who = var.operators, role = "AzureML Compute Operator", on = azurerm_machine_learning_workspace.this.id }
    operators-project = { who = var.operators, role = "AzureML Data Scientist", on = azurerm_machine_learning_workspace.this.id }
    operators-stages  = { who = var.operators, role = "Managed Identity Operator", on = azurerm_user_assigned_identity.stages.id }
  }
}

resource "azurerm_role_assignment" "this" {
  for_each             = local.roles
  principal_id         = each.value.who
  role_definition_name = each.value.role
  scope                = each.value.on
}
