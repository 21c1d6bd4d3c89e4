"""What the AWS part makes, by CloudFormation's template, in the words of aws_words.py."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from aws_words import GIVEN, HERE, NAMES, Things, one_rule, statements
from described import VALUES, template


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
            **{
                f"{each['ServiceName'].split('.', 3)[3]} endpoint": statements(each["PolicyDocument"])
                for each in of("EC2::VPCEndpoint")
            },
            "container": statements(every["ContainerPolicy"]["PolicyDocument"]),
            "features": statements(every["FeaturesPolicy"]["PolicyDocument"]),
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
        one_rule(
            rule["IpProtocol"],
            rule.get("FromPort"),
            rule.get("ToPort"),
            next(rule[peer] for peer in peers if peer in rule),
        )
        for rule in rules
    ]
    # CloudFormation cannot say "no way out" but so.
    return sorted(rule for rule in found if rule != "-1 127.0.0.1/32")
