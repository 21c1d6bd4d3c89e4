"""What the AWS part makes, in the same words for Terraform's plan and for CloudFormation's template: the words.

Each side is worked out with the same values given, down to plain data; what only AWS knows (the id of a key) has one
name on both sides. So the two can be held against each other, and a rule can be asked of either.
"""

from __future__ import annotations

import json
from typing import Any

from described import VALUES

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


def one_rule(protocol: str, first: int | None, last: int | None, peer: str) -> str:
    ports = "" if first is None else f" {first}-{last}"
    return f"{protocol}{ports} {NAMES.get(peer, peer)}"
