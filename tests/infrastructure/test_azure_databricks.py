"""What Azure's and Databricks' files make, as Terraform plans it: closed by default, and narrow."""

from __future__ import annotations

import json

from described import needs_terraform, planned, resources

pytestmark = needs_terraform


def test_the_storage_account_is_closed_encrypted_on_the_way_and_versioned() -> None:
    (account,) = resources("azure", "azurerm_storage_account")
    assert account["https_traffic_only_enabled"] and account["min_tls_version"] == "TLS1_2"
    assert not account["allow_nested_items_to_be_public"]
    assert not account["shared_access_key_enabled"]
    assert account["public_network_access"] == "Disabled"
    assert account["network_rules"][0]["default_action"] == "Deny"
    assert account["blob_properties"][0]["versioning_enabled"]
    assert account["blob_properties"][0]["delete_retention_policy"][0]["days"] == 30
    (container,) = resources("azure", "azurerm_storage_container")
    assert container["container_access_type"] == "private"
    (policy,) = resources("azure", "azurerm_storage_management_policy")
    (rule,) = policy["rule"]
    actions = rule["actions"][0]
    assert rule["enabled"] and actions["base_blob"][0]["tier_to_cool_after_days_since_modification_greater_than"] == 30
    assert actions["version"][0]["delete_after_days_since_creation"] == 180


def test_vault_registry_and_workspace_are_closed() -> None:
    (vault,) = resources("azure", "azurerm_key_vault")
    assert vault["rbac_authorization_enabled"] and vault["purge_protection_enabled"]
    assert not vault["public_network_access_enabled"] and vault["network_acls"][0]["default_action"] == "Deny"
    (registry,) = resources("azure", "azurerm_container_registry")
    assert not registry["admin_enabled"] and not registry["anonymous_pull_enabled"]
    assert not registry["public_network_access_enabled"] and registry["network_rule_set"][0]["default_action"] == "Deny"
    (workspace,) = resources("azure", "azurerm_machine_learning_workspace")
    assert not workspace["public_network_access_enabled"] and workspace["storage_account_access_type"] == "Identity"
    assert workspace["identity"][0]["type"] == "SystemAssigned"
    assert workspace["managed_network"][0]["isolation_mode"] == "AllowOnlyApprovedOutbound"


def test_each_closed_service_has_a_private_address_and_a_name_for_it() -> None:
    parts = {
        each["private_service_connection"][0]["subresource_names"][0]: each
        for each in resources("azure", "azurerm_private_endpoint")
    }
    assert sorted(parts) == ["amlworkspace", "blob", "dfs", "file", "registry", "vault"]
    zones = {each["name"] for each in resources("azure", "azurerm_private_dns_zone")}
    assert all(zone.startswith("privatelink.") for zone in zones) and len(zones) == 7
    assert len(resources("azure", "azurerm_private_dns_zone_virtual_network_link")) == len(zones)
    named = [zone for each in parts.values() for zone in each["private_dns_zone_group"][0]["private_dns_zone_ids"]]
    assert len(named) == len(set(named)) == len(zones)


def test_the_network_lets_in_nothing_but_itself() -> None:
    (group,) = resources("azure", "azurerm_network_security_group")
    rules = sorted(group["security_rule"], key=lambda rule: rule["priority"])
    assert [(rule["direction"], rule["access"], rule["source_address_prefix"]) for rule in rules] == [
        ("Inbound", "Allow", "VirtualNetwork"),
        ("Inbound", "Deny", "*"),
    ]


def test_roles_are_narrow_and_each_on_one_thing() -> None:
    roles = {(each["role_definition_name"], each["scope"]) for each in resources("azure", "azurerm_role_assignment")}
    assert {role for role, _ in roles} == {
        "Storage Blob Data Contributor",  # data of one container
        "AcrPull",
        "Key Vault Secrets User",
        "AzureML Data Scientist",
        "AzureML Compute Operator",
        "Managed Identity Operator",
    }
    kinds = {scope.split(" ")[0].strip("<:") for _, scope in roles}
    assert not kinds & {"azurerm_resource_group", "/subscriptions"} and len(kinds) == 5


def test_budgets_tell_before_the_money_is_gone() -> None:
    (budget,) = resources("azure", "azurerm_consumption_budget_resource_group")
    told = sorted(
        (each["threshold_type"], each["threshold"], *each["contact_emails"]) for each in budget["notification"]
    )
    assert budget["amount"] == 300 and budget["time_period"][0]["start_date"] == "2026-12-01T00:00:00Z"
    assert told == [("Actual", 80, "team@our.org"), ("Forecasted", 100, "team@our.org")]


def test_clusters_end_after_two_idle_hours_and_have_unity_catalog() -> None:
    (policy,) = resources("databricks", "databricks_cluster_policy")
    definition = json.loads(policy["definition"])
    assert (
        definition["autotermination_minutes"]["maxValue"]
        == definition["autotermination_minutes"]["defaultValue"]
        == 120
    )
    assert definition["autotermination_minutes"]["minValue"] > 0  # 0 is never
    assert definition["data_security_mode"]["values"] == ["SINGLE_USER", "USER_ISOLATION"]
    assert definition["node_type_id"]["values"] == ["m6i.xlarge", "g5.xlarge"]
    assert definition["autoscale.max_workers"]["maxValue"] == 4


def test_grants_are_named_one_by_one() -> None:
    grants = resources("databricks", "databricks_grant")
    assert not any("ALL_PRIVILEGES" in grant["privileges"] for grant in grants)
    on_schema = {grant["principal"]: set(grant["privileges"]) for grant in grants if grant["schema"]}
    assert on_schema["analysts"] == {"EXECUTE", "READ_VOLUME", "SELECT", "USE_SCHEMA"}
    assert on_schema["owners"] == {"APPLY_TAG", "EXECUTE", "SELECT", "USE_SCHEMA"}
    (stages,) = on_schema.keys() - {"analysts", "owners"}
    assert {"MODIFY", "CREATE_MODEL", "WRITE_VOLUME"} < on_schema[stages] and "MANAGE" not in on_schema[stages]
    assert {grant["principal"] for grant in grants if grant["catalog"]} == {*on_schema}
    assert [grant["privileges"] for grant in grants if grant["model"]] == [["APPLY_TAG", "EXECUTE", "MANAGE"]]


def test_no_secret_goes_through_terraform() -> None:
    kinds = {each["type"] for each in planned("databricks")["planned_values"]["root_module"]["resources"]}
    assert "databricks_secret_scope" in kinds and not kinds & {"databricks_secret", "databricks_token"}
    kinds = {each["type"] for each in planned("azure")["planned_values"]["root_module"]["resources"]}
    assert "azurerm_key_vault" in kinds and "azurerm_key_vault_secret" not in kinds
