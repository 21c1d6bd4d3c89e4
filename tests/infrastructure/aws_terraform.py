"""What the AWS part makes, by Terraform's plan, in the words of aws_words.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from aws_words import NAMES, Things, one_rule, statements
from described import resources


@cache
def of_terraform() -> Things:
    def one(kind: str) -> dict[str, Any]:
        (found,) = resources("aws", kind)
        return found

    def named(kind: str, key: str, of: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        return {each[key]: of(each) for each in resources("aws", kind)}

    rules: dict[str, dict[str, list[str]]] = {group: {"in": [], "out": []} for group in ("jobs", "endpoints")}
    for way, kind in (("in", "ingress"), ("out", "egress")):
        for rule in resources("aws", f"aws_vpc_security_group_{kind}_rule"):
            peer = rule["cidr_ipv4"] or rule["prefix_list_id"] or rule["referenced_security_group_id"]
            group = NAMES[rule["security_group_id"]].lower()
            rules[group][way].append(one_rule(rule["ip_protocol"], rule["from_port"], rule["to_port"], peer))
    lifecycle = {
        rule["id"]: {
            "prefix": rule["filter"][0]["prefix"],
            "status": rule["status"],
            "tiers": [(each["days"], each["storage_class"]) for each in rule["transition"]],
            "old tiers": [
                (each["noncurrent_days"], each["storage_class"]) for each in rule["noncurrent_version_transition"]
            ],
            "old gone": [each["noncurrent_days"] for each in rule["noncurrent_version_expiration"]],
            "parts gone": [each["days_after_initiation"] for each in rule["abort_incomplete_multipart_upload"]],
        }
        for rule in one("aws_s3_bucket_lifecycle_configuration")["rule"]
    }
    encryption = one("aws_s3_bucket_server_side_encryption_configuration")["rule"][0]
    by_default = encryption["apply_server_side_encryption_by_default"][0]
    blocks = one("aws_s3_bucket_public_access_block")
    images, key, vpc, budget = (one(f"aws_{kind}") for kind in ("ecr_repository", "kms_key", "vpc", "budgets_budget"))
    return {
        "policies": {
            "key": statements(key["policy"]),
            "bucket": statements(one("aws_s3_bucket_policy")["policy"]),
            "notices": statements(one("aws_sns_topic_policy")["policy"]),
            **{
                f"{each['service_name'].split('.', 3)[3]} endpoint": statements(each["policy"])
                for each in resources("aws", "aws_vpc_endpoint")
            },
            **{
                each["name"].removeprefix("lakewright-"): statements(each["policy"])
                for each in resources("aws", "aws_iam_policy")
            },
            **named("aws_iam_role_policy", "name", lambda each: statements(each["policy"])),
            **{
                f"who may be {each['name']}": statements(each["assume_role_policy"])
                for each in resources("aws", "aws_iam_role")
            },
        },
        "bucket": {
            "name": one("aws_s3_bucket")["bucket"],
            "versioning": one("aws_s3_bucket_versioning")["versioning_configuration"][0]["status"],
            "encryption": (by_default["sse_algorithm"], NAMES[by_default["kms_master_key_id"]]),
            "bucket key": encryption["bucket_key_enabled"],
            "public": [
                blocks[name]
                for name in (
                    "block_public_acls",
                    "block_public_policy",
                    "ignore_public_acls",
                    "restrict_public_buckets",
                )
            ],
            "ownership": one("aws_s3_bucket_ownership_controls")["rule"][0]["object_ownership"],
            "lifecycle": lifecycle,
        },
        "key": {
            "alias": one("aws_kms_alias")["name"],
            "rotation": key["enable_key_rotation"],
            "window": key["deletion_window_in_days"],
        },
        "roles": {
            "names": sorted(each["name"] for each in resources("aws", "aws_iam_role")),
            "shared": sorted(each["role"] for each in resources("aws", "aws_iam_role_policy_attachment")),
        },
        "images": {
            "name": images["name"],
            "tags": images["image_tag_mutability"],
            "scan": images["image_scanning_configuration"][0]["scan_on_push"],
            "encryption": (
                images["encryption_configuration"][0]["encryption_type"],
                NAMES[images["encryption_configuration"][0]["kms_key"]],
            ),
            "lifecycle": json.loads(one("aws_ecr_lifecycle_policy")["policy"]),
        },
        "network": {
            "vpc": (vpc["cidr_block"], vpc["enable_dns_support"], vpc["enable_dns_hostnames"]),
            "subnets": sorted(
                (each["cidr_block"], each["availability_zone"], each["map_public_ip_on_launch"])
                for each in resources("aws", "aws_subnet")
            ),
            "routed": len(resources("aws", "aws_route_table_association")),
            "endpoints": {
                each["service_name"]: (
                    each["vpc_endpoint_type"],
                    each["private_dns_enabled"] if each["vpc_endpoint_type"] == "Interface" else None,
                    sorted(NAMES[subnet] for subnet in each.get("subnet_ids") or []),
                    sorted(NAMES[group] for group in each.get("security_group_ids") or []),
                )
                for each in resources("aws", "aws_vpc_endpoint")
            },
            "rules": {group: {way: sorted(found) for way, found in ways.items()} for group, ways in rules.items()},
        },
        "alarms": named(
            "aws_cloudwatch_metric_alarm",
            "alarm_name",
            lambda each: (
                each["namespace"],
                each["metric_name"],
                each["dimensions"],
                each["statistic"] or each["extended_statistic"],
                each["comparison_operator"],
                each["threshold"],
                each["period"],
                each["evaluation_periods"],
                each["treat_missing_data"],
                [NAMES[topic] for topic in (*each["alarm_actions"], *each["ok_actions"])],
            ),
        ),
        "dashboard": json.loads(one("aws_cloudwatch_dashboard")["dashboard_body"]),
        "log": named(
            "aws_cloudwatch_log_group", "name", lambda each: (each["retention_in_days"], NAMES[each["kms_key_id"]])
        ),
        "notices": {
            "topic": named("aws_sns_topic", "name", lambda each: NAMES[each["kms_master_key_id"]]),
            "to": named("aws_sns_topic_subscription", "endpoint", lambda each: each["protocol"]),
        },
        "budget": {
            "what": (budget["name"], budget["budget_type"], budget["time_unit"], float(budget["limit_amount"])),
            "notices": sorted(
                (
                    each["notification_type"],
                    each["comparison_operator"],
                    each["threshold"],
                    each["threshold_type"],
                    *each["subscriber_email_addresses"],
                    *(NAMES[topic] for topic in each["subscriber_sns_topic_arns"]),
                )
                for each in budget["notification"]
            ),
        },
    }
