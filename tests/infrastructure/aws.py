"""What the AWS part makes, in the same words for Terraform's plan and for CloudFormation's template.

Each side is worked out with the same values given, down to plain data; what only AWS knows (the id of a key) has one
name on both sides. So the two can be held against each other, and a rule can be asked of either.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from described import VALUES, resources, template

Things = dict[str, dict[str, Any]]
GIVEN = {
    "Bucket": VALUES["aws"]["variables"]["bucket"],
    "Email": VALUES["aws"]["variables"]["email"],
    "MonthlyBudget": VALUES["aws"]["variables"]["monthly_budget"],
    "S3PrefixList": "pl-6ea54007",
}
HERE = {
    "AWS::Partition": "aws",
    "AWS::Region": VALUES["aws"]["variables"]["region"],
    "AWS::AccountId": VALUES["aws"]["data"]["aws_caller_identity"]["account_id"],
}
AT = f"{HERE['AWS::Region']}:{HERE['AWS::AccountId']}"
# What only AWS knows, as each side writes it → as it is called here.
NAMES = {
    "<aws_kms_key: arn>": "KEY",
    "<Key.Arn>": "KEY",
    "<aws_kms_key: key_id>": "KEY",
    "<Key>": "KEY",
    "<aws_ecr_repository lakewright: arn>": "IMAGES",
    "<Images.Arn>": "IMAGES",
    "<aws_sns_topic lakewright-notices: arn>": "NOTICES",
    "<Notices>": "NOTICES",
    "<aws_vpc 10.20.0.0/16: arn>": "VPC",
    f"arn:aws:ec2:{AT}:vpc/<Vpc>": "VPC",
    "<aws_subnet 10.20.0.0/20: arn>": "SUBNET 1",
    f"arn:aws:ec2:{AT}:subnet/<PrivateSubnet1>": "SUBNET 1",
    "<aws_subnet 10.20.16.0/20: arn>": "SUBNET 2",
    f"arn:aws:ec2:{AT}:subnet/<PrivateSubnet2>": "SUBNET 2",
    "<aws_subnet 10.20.0.0/20: id>": "SUBNET 1",
    "<PrivateSubnet1>": "SUBNET 1",
    "<aws_subnet 10.20.16.0/20: id>": "SUBNET 2",
    "<PrivateSubnet2>": "SUBNET 2",
    "<aws_security_group lakewright-jobs: arn>": "JOBS",
    f"arn:aws:ec2:{AT}:security-group/<JobsGroup.GroupId>": "JOBS",
    "<aws_security_group lakewright-jobs: id>": "JOBS",
    "<JobsGroup.GroupId>": "JOBS",
    "<aws_security_group lakewright-endpoints: id>": "ENDPOINTS",
    "<EndpointsGroup.GroupId>": "ENDPOINTS",
    "<aws_vpc_endpoint: prefix_list_id>": "S3",
    GIVEN["S3PrefixList"]: "S3",
}
PAIRS = ("SUBNET 1", "SUBNET 2")


def statements(policy: str | dict[str, Any]) -> dict[str, Any]:
    """Sid → the rest, where what is one or several is a sorted list."""
    document = json.loads(policy) if isinstance(policy, str) else policy
    return {each["Sid"]: _plain({key: each[key] for key in each if key != "Sid"}) for each in document["Statement"]}


def _plain(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return sorted(_plain(each) for each in value)
    value = NAMES.get(value, value)
    return value if key in ("Effect", "") or (value == "*" and key == "Principal") else [value]


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
            rules[group][way].append(_rule(rule["ip_protocol"], rule["from_port"], rule["to_port"], peer))
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
            "s3 endpoint": statements(
                next(
                    each["policy"]
                    for each in resources("aws", "aws_vpc_endpoint")
                    if each["vpc_endpoint_type"] == "Gateway"
                )
            ),
            "container": statements(one("aws_iam_policy")["policy"]),
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


def _rule(protocol: str, first: int | None, last: int | None, peer: str) -> str:
    ports = "" if first is None else f" {first}-{last}"
    return f"{protocol}{ports} {NAMES.get(peer, peer)}"


def resolve(value: Any, known: dict[str, Any]) -> Any:
    """The template's value with its functions worked out; `known` has what names stand for, others are <NAME>."""
    if isinstance(value, list):
        return [resolve(each, known) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((call, given),) = value.items()
        if call == "Ref":
            return known.get(given, f"<{given}>")
        if call == "Fn::GetAtt":
            return known.get(".".join(given), f"<{'.'.join(given)}>")
        if call == "Fn::GetAZs":
            return VALUES["aws"]["data"]["aws_availability_zones"]["names"]
        if call == "Fn::Select":
            number, among = given
            return resolve(among, known)[number]
        if call == "Fn::Split":
            between, text = given
            return resolve(text, known).split(between)
        if call == "Fn::Sub":
            text, more = given if isinstance(given, list) else (given, {})
            names = {**known, **resolve(more, known)}
            parts = text.split("${")
            filled = [
                f"{names.get(name, f'<{name}>')}{rest}" for name, _, rest in (part.partition("}") for part in parts[1:])
            ]
            return parts[0] + "".join(filled)
    return {name: resolve(inner, known) for name, inner in value.items()}


def parameters() -> dict[str, Any]:
    defaults = {name: each.get("Default") for name, each in template()["Parameters"].items()}
    return {**defaults, **HERE, **GIVEN}


@cache
def properties() -> dict[str, dict[str, Any]]:
    """Logical id → type and properties, worked out."""
    known = parameters()
    return {
        name: {"Type": each["Type"], **resolve(each["Properties"], known)}
        for name, each in template()["Resources"].items()
    }


@cache
def of_cloudformation() -> Things:
    every = properties()

    def of(kind: str) -> list[dict[str, Any]]:
        return [each for each in every.values() if each["Type"] == f"AWS::{kind}"]

    bucket, key, images, vpc = every["Lake"], every["Key"], every["Images"], every["Vpc"]
    encryption = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]
    by_default = encryption["ServerSideEncryptionByDefault"]
    rules: dict[str, dict[str, list[str]]] = {}
    for group, name in (("jobs", "JobsGroup"), ("endpoints", "EndpointsGroup")):
        inward = every[name].get("SecurityGroupIngress", []) + _apart(of("EC2::SecurityGroupIngress"), name)
        outward = every[name].get("SecurityGroupEgress", []) + _apart(of("EC2::SecurityGroupEgress"), name)
        rules[group] = {"in": _cloudformation_rules(inward), "out": _cloudformation_rules(outward)}
    lifecycle = {
        rule["Id"]: {
            "prefix": rule["Prefix"],
            "status": rule["Status"],
            "tiers": [(each["TransitionInDays"], each["StorageClass"]) for each in rule.get("Transitions", [])],
            "old tiers": [
                (each["TransitionInDays"], each["StorageClass"])
                for each in rule.get("NoncurrentVersionTransitions", [])
            ],
            "old gone": [*rule.get("NoncurrentVersionExpiration", {}).values()],
            "parts gone": [*rule.get("AbortIncompleteMultipartUpload", {}).values()],
        }
        for rule in bucket["LifecycleConfiguration"]["Rules"]
    }
    budget = every["Budget"]
    inline = {policy["PolicyName"]: policy["PolicyDocument"] for role in of("IAM::Role") for policy in role["Policies"]}
    return {
        "policies": {
            "key": statements(key["KeyPolicy"]),
            "bucket": statements(every["LakePolicy"]["PolicyDocument"]),
            "notices": statements(every["NoticesPolicy"]["PolicyDocument"]),
            "s3 endpoint": statements(every["S3Gateway"]["PolicyDocument"]),
            "container": statements(every["ContainerPolicy"]["PolicyDocument"]),
            **{name: statements(document) for name, document in inline.items()},
            **{
                f"who may be {role['RoleName']}": statements(role["AssumeRolePolicyDocument"])
                for role in of("IAM::Role")
            },
        },
        "bucket": {
            "name": bucket["BucketName"],
            "versioning": bucket["VersioningConfiguration"]["Status"],
            "encryption": (by_default["SSEAlgorithm"], NAMES[by_default["KMSMasterKeyID"]]),
            "bucket key": encryption["BucketKeyEnabled"],
            "public": [value for _, value in sorted(bucket["PublicAccessBlockConfiguration"].items())],
            "ownership": bucket["OwnershipControls"]["Rules"][0]["ObjectOwnership"],
            "lifecycle": lifecycle,
        },
        "key": {
            "alias": every["KeyAlias"]["AliasName"],
            "rotation": key["EnableKeyRotation"],
            "window": key["PendingWindowInDays"],
        },
        "roles": {
            "names": sorted(role["RoleName"] for role in of("IAM::Role")),
            "shared": sorted(every[role.strip("<>")]["RoleName"] for role in every["ContainerPolicy"]["Roles"]),
        },
        "images": {
            "name": images["RepositoryName"],
            "tags": images["ImageTagMutability"],
            "scan": images["ImageScanningConfiguration"]["ScanOnPush"],
            "encryption": (
                images["EncryptionConfiguration"]["EncryptionType"],
                NAMES[images["EncryptionConfiguration"]["KmsKey"]],
            ),
            "lifecycle": json.loads(images["LifecyclePolicy"]["LifecyclePolicyText"]),
        },
        "network": {
            "vpc": (vpc["CidrBlock"], vpc["EnableDnsSupport"], vpc["EnableDnsHostnames"]),
            "subnets": sorted(
                (each["CidrBlock"], each["AvailabilityZone"], each["MapPublicIpOnLaunch"]) for each in of("EC2::Subnet")
            ),
            "routed": len(of("EC2::SubnetRouteTableAssociation")),
            "endpoints": {
                each["ServiceName"]: (
                    each["VpcEndpointType"],
                    each.get("PrivateDnsEnabled"),
                    sorted(NAMES[subnet] for subnet in each.get("SubnetIds", [])),
                    sorted(NAMES[group] for group in each.get("SecurityGroupIds", [])),
                )
                for each in of("EC2::VPCEndpoint")
            },
            "rules": rules,
        },
        "alarms": {
            each["AlarmName"]: (
                each["Namespace"],
                each["MetricName"],
                {dimension["Name"]: dimension["Value"] for dimension in each["Dimensions"]},
                each.get("Statistic") or each["ExtendedStatistic"],
                each["ComparisonOperator"],
                each["Threshold"],
                each["Period"],
                each["EvaluationPeriods"],
                each["TreatMissingData"],
                [NAMES[topic] for topic in (*each["AlarmActions"], *each["OKActions"])],
            )
            for each in of("CloudWatch::Alarm")
        },
        "dashboard": json.loads(every["Dashboard"]["DashboardBody"]),
        "log": {
            each["LogGroupName"]: (each["RetentionInDays"], NAMES[each["KmsKeyId"]]) for each in of("Logs::LogGroup")
        },
        "notices": {
            "topic": {each["TopicName"]: NAMES[each["KmsMasterKeyId"]] for each in of("SNS::Topic")},
            "to": {each["Endpoint"]: each["Protocol"] for each in of("SNS::Subscription")},
        },
        "budget": {
            "what": (
                budget["Budget"]["BudgetName"],
                budget["Budget"]["BudgetType"],
                budget["Budget"]["TimeUnit"],
                float(budget["Budget"]["BudgetLimit"]["Amount"]),
            ),
            "notices": sorted(
                (
                    *(each["Notification"][name] for name in ("NotificationType", "ComparisonOperator")),
                    *(each["Notification"][name] for name in ("Threshold", "ThresholdType")),
                    *(NAMES.get(to["Address"], to["Address"]) for to in each["Subscribers"]),
                )
                for each in budget["NotificationsWithSubscribers"]
            ),
        },
    }


def _apart(rules: list[dict[str, Any]], group: str) -> list[dict[str, Any]]:
    """Rules that are resources of their own, of the group."""
    return [rule for rule in rules if rule["GroupId"] == f"<{group}.GroupId>"]


def _cloudformation_rules(rules: list[dict[str, Any]]) -> list[str]:
    peers = ("CidrIp", "DestinationPrefixListId", "SourceSecurityGroupId", "DestinationSecurityGroupId")
    found = [
        _rule(
            rule["IpProtocol"],
            rule.get("FromPort"),
            rule.get("ToPort"),
            next(rule[peer] for peer in peers if peer in rule),
        )
        for rule in rules
    ]
    # CloudFormation cannot say "no way out" but so.
    return sorted(rule for rule in found if rule != "-1 127.0.0.1/32")
