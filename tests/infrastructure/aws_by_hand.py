"""The properties that moto leaves out of a stack, sent to the services' own APIs, as CloudFormation would send them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aws_words import GIVEN, HERE
from described import template

ACCOUNT, BUCKET = HERE["AWS::AccountId"], GIVEN["Bucket"]
Client = Callable[[str], Any]  # service → its client


def send(made: dict[str, dict[str, Any]], client: Client, subnets: dict[str, str]) -> None:
    """`subnets`: IPv4 range → id."""
    lake, images, budget = made["Lake"], made["Images"], made["Budget"]
    ec2, s3 = client("ec2"), client("s3")
    for number in ("1", "2"):
        subnet = subnets[made[f"PrivateSubnet{number}"]["CidrBlock"]]
        public = made[f"PrivateSubnet{number}"]["MapPublicIpOnLaunch"]
        ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": public})
        ec2.associate_route_table(SubnetId=subnet, RouteTableId=made[f"PrivateRoutes{number}"]["RouteTableId"])
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration=_encryption(lake["BucketEncryption"]))
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=lake["VersioningConfiguration"])
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=lake["PublicAccessBlockConfiguration"])
    s3.put_bucket_ownership_controls(Bucket=BUCKET, OwnershipControls=lake["OwnershipControls"])
    rules = [_lifecycle_rule(rule) for rule in lake["LifecycleConfiguration"]["Rules"]]
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": rules})
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(made["LakePolicy"]["PolicyDocument"]))
    client("ecr").put_lifecycle_policy(
        repositoryName="lakewright", lifecyclePolicyText=images["LifecyclePolicy"]["LifecyclePolicyText"]
    )
    client("ecr").put_image_scanning_configuration(
        repositoryName="lakewright",
        imageScanningConfiguration={"scanOnPush": images["ImageScanningConfiguration"]["ScanOnPush"]},
    )
    for rule in (*made["JobsGroup"]["SecurityGroupEgress"], made["JobsToJobs"]):
        ec2.authorize_security_group_egress(GroupId=made["JobsToJobs"]["GroupId"], IpPermissions=[_egress_rule(rule)])
    for name, each in template()["Resources"].items():
        if each["Type"] == "AWS::CloudWatch::Alarm":
            client("cloudwatch").put_metric_alarm(**made[name])
    client("sns").subscribe(**made["NoticesByEmail"])
    client("sns").set_topic_attributes(
        TopicArn=made["NoticesPolicy"]["Topics"][0],
        AttributeName="Policy",
        AttributeValue=json.dumps(made["NoticesPolicy"]["PolicyDocument"]),
    )
    limit = budget["Budget"]["BudgetLimit"]
    client("budgets").create_budget(
        AccountId=ACCOUNT,
        Budget={**budget["Budget"], "BudgetLimit": {**limit, "Amount": str(limit["Amount"])}},
        NotificationsWithSubscribers=budget["NotificationsWithSubscribers"],
    )


def _encryption(given: dict[str, Any]) -> dict[str, Any]:
    """As the API spells what CloudFormation spells otherwise."""
    (rule,) = given["ServerSideEncryptionConfiguration"]
    by_default = rule["ServerSideEncryptionByDefault"]
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": rule["BucketKeyEnabled"]}]}


def _lifecycle_rule(rule: dict[str, Any]) -> dict[str, Any]:
    found = {"ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": rule["Prefix"]}}
    for name, days in (("Transitions", "Days"), ("NoncurrentVersionTransitions", "NoncurrentDays")):
        if name in rule:
            found[name] = [
                {days: each["TransitionInDays"], "StorageClass": each["StorageClass"]} for each in rule[name]
            ]
    same = ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
    return found | {name: rule[name] for name in same if name in rule}


def _egress_rule(rule: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: rule[name] for name in ("IpProtocol", "FromPort", "ToPort") if name in rule}
    for given, name, key in (
        ("CidrIp", "IpRanges", "CidrIp"),
        ("DestinationPrefixListId", "PrefixListIds", "PrefixListId"),
        ("DestinationSecurityGroupId", "UserIdGroupPairs", "GroupId"),
    ):
        if given in rule:
            found[name] = [{key: rule[given]}]
    return found
