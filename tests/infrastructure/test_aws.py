"""The AWS part: Terraform and CloudFormation make the same, and what they make is as narrow as it is said to be."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aws_cloudformation import of_cloudformation
from aws_terraform import of_terraform
from aws_words import Things
from described import INFRASTRUCTURE, needs_terraform, planned, template

SIDES = [pytest.param(of_terraform, marks=needs_terraform, id="terraform"), pytest.param(of_cloudformation, id="cfn")]
every_side = pytest.mark.parametrize("side", SIDES)
# Where AWS has no resource to name; every_role.tf says why, one by one.
NO_RESOURCE = {
    "EnterRegistry": {"ecr:GetAuthorizationToken"},
    "Count": {"cloudwatch:PutMetricData"},
    "SeeNetwork": {
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcEndpoints",
        "ec2:DescribeVpcs",
    },
}


@needs_terraform
@pytest.mark.parametrize("part", sorted(of_cloudformation()))
def test_terraform_and_cloudformation_make_the_same(part: str) -> None:
    assert of_terraform()[part] == of_cloudformation()[part]


@needs_terraform
def test_nothing_is_made_that_is_not_compared() -> None:
    """A new kind of resource on either side has to be added to aws_terraform.py (or here, with the reason)."""
    made = {each["type"] for each in planned("aws")["planned_values"]["root_module"]["resources"]}
    compared = set(
        re.findall(r'"(aws_\w+)"', (INFRASTRUCTURE.parent / "tests/infrastructure/aws_terraform.py").read_text())
    )
    compared |= {f"aws_{kind}" for kind in ("ecr_repository", "kms_key", "vpc", "budgets_budget")}
    compared |= {f"aws_vpc_security_group_{way}_rule" for way in ("ingress", "egress")}
    compared |= {"aws_security_group", "aws_route_table"}  # by their rules and their subnets
    assert made - compared == {"aws_default_security_group"}  # CloudFormation cannot say it


@needs_terraform
def test_both_put_out_the_same() -> None:
    camel = {
        "".join(word.capitalize() for word in name.split("_")) for name in planned("aws")["planned_values"]["outputs"]
    }
    assert camel == set(template()["Outputs"])


OUR_CALLERS = {"StringEquals": {"aws:PrincipalAccount": ["123456789012"]}}


def too_wide(things: Things) -> Iterator[str]:
    """What no policy here may allow."""
    for name, statements in things["policies"].items():
        for sid, statement in statements.items():
            if statement["Effect"] != "Allow":
                continue
            for action in statement["Action"]:
                if "*" in action:
                    yield f"{name}/{sid}: the action {action}"
            # The network's own ways to AWS: for any caller and thing, where the callers are this account's.
            ours = name.endswith(" endpoint") and statement.get("Condition") == OUR_CALLERS
            anything = "*" in statement.get("Resource", []) and not ours
            if anything and name != "key" and set(statement["Action"]) != NO_RESOURCE.get(sid):
                yield f"{name}/{sid}: on any resource"
            anyone = statement.get("Principal") == "*" and not ours
            if anyone and name != "s3 endpoint":  # whose callers are those in the network; it narrows what they may do
                yield f"{name}/{sid}: for anyone"
            if "iam:PassRole" in statement["Action"] and "Condition" not in statement:
                yield f"{name}/{sid}: roles to any service"


def open_ways(things: Things) -> Iterator[str]:
    for group, ways in things["network"]["rules"].items():
        for way, rules in ways.items():
            for rule in rules:
                if re.search(r"0\.0\.0\.0/0|::/0", rule):
                    yield f"{group}, {way}: {rule}"
    yield from (f"{cidr} has public addresses" for cidr, _, public in things["network"]["subnets"] if public)


def unsafe_bucket(things: Things) -> Iterator[str]:
    bucket = things["bucket"]
    if bucket["versioning"] != "Enabled":
        yield "not versioned"
    if bucket["encryption"] != ("aws:kms", "KEY"):
        yield "not encrypted with the key"
    if bucket["public"] != [True] * 4:
        yield "not blocked for the public"
    if not any(rule["status"] == "Enabled" and rule["tiers"] for rule in bucket["lifecycle"].values()):
        yield "not tiered"
    tls = things["policies"]["bucket"].get("TlsOnly", {})
    if (tls.get("Effect"), tls.get("Condition")) != ("Deny", {"Bool": {"aws:SecureTransport": ["false"]}}):
        yield "not by TLS alone"
    header = "s3:x-amz-server-side-encryption"
    refused = {
        "ThisKeyOnly": {
            "StringNotEquals": {f"{header}-aws-kms-key-id": ["KEY"]},
            "Null": {f"{header}-aws-kms-key-id": ["false"]},
        },
        "KmsOnly": {"StringNotEquals": {header: ["aws:kms"]}, "Null": {header: ["false"]}},
        "NoKeysOfCallers": {"Null": {f"{header}-customer-algorithm": ["false"]}},
    }
    for sid, condition in refused.items():
        there = things["policies"]["bucket"].get(sid, {})
        if (there.get("Effect"), there.get("Action"), there.get("Condition")) != ("Deny", ["s3:PutObject"], condition):
            yield f"an upload that is encrypted otherwise ({sid})"


def approves_its_own(things: Things) -> Iterator[str]:
    """The role that makes model packages must not approve them, nor may another policy let it."""
    change, stages = "sagemaker:UpdateModelPackage", things["policies"]["stages"]
    if any(change in each["Action"] for each in stages.values() if each["Effect"] == "Allow"):
        yield "stages may approve"
    denied = [each for each in stages.values() if each["Effect"] == "Deny" and change in each["Action"]]
    if not any(each["Resource"][0].endswith(":model-package/*") and "Condition" not in each for each in denied):
        yield "stages are not kept from approving"


def shut_out(things: Things) -> Iterator[str]:
    """What a role may do in a service that is reached through the network, the network must let through."""
    through = {action for name, each in things["policies"].items() if name.endswith(" endpoint") for s in each.values()
               for action in s["Action"]}  # fmt: skip
    reached = {action.partition(":")[0] for action in through}
    for name in ("stages", "serving", "container"):
        for statement in things["policies"][name].values():
            for action in statement["Action"] if statement["Effect"] == "Allow" else ():
                if action.partition(":")[0] in reached and action not in through:
                    yield f"{name}: {action}"


RULES = [too_wide, open_ways, unsafe_bucket, approves_its_own, shut_out]


@every_side
@pytest.mark.parametrize("rule", RULES)
def test_the_rules_hold(rule: Callable[[Things], Iterator[str]], side: Callable[[], Things]) -> None:
    assert [*rule(side())] == []


def _allow(things: Things, **changed: Any) -> None:
    things["policies"]["stages"]["WriteBucket"].update(changed)


BREAKS: dict[str, tuple[Callable[[Things], Iterator[str]], Callable[[Things], Any]]] = {
    "stages/WriteBucket: the action *": (too_wide, lambda things: _allow(things, Action=["*"])),
    "stages/WriteBucket: the action s3:*": (too_wide, lambda things: _allow(things, Action=["s3:*"])),
    "stages/WriteBucket: on any resource": (too_wide, lambda things: _allow(things, Resource=["*"])),
    "bucket/TlsOnly: for anyone": (
        too_wide,
        lambda things: things["policies"]["bucket"]["TlsOnly"].update(Effect="Allow", Action=["s3:GetObject"]),
    ),
    "stages/PassRole: roles to any service": (
        too_wide,
        lambda things: things["policies"]["stages"]["PassRole"].pop("Condition"),
    ),
    "jobs, in: tcp 22-22 0.0.0.0/0": (
        open_ways,
        lambda things: things["network"]["rules"]["jobs"]["in"].append("tcp 22-22 0.0.0.0/0"),
    ),
    "10.20.0.0/20 has public addresses": (
        open_ways,
        lambda things: things["network"]["subnets"].append(("10.20.0.0/20", "a", True)),
    ),
    "not versioned": (unsafe_bucket, lambda things: things["bucket"].update(versioning="Suspended")),
    "not encrypted with the key": (unsafe_bucket, lambda things: things["bucket"].update(encryption=("AES256", None))),
    "not blocked for the public": (unsafe_bucket, lambda things: things["bucket"]["public"].__setitem__(1, False)),
    "not tiered": (unsafe_bucket, lambda things: things["bucket"]["lifecycle"].pop("tiering")),
    "not by TLS alone": (unsafe_bucket, lambda things: things["policies"]["bucket"].pop("TlsOnly")),
    "an upload that is encrypted otherwise (KmsOnly)": (
        unsafe_bucket,
        lambda things: things["policies"]["bucket"].pop("KmsOnly"),
    ),
    "kms endpoint/OurAccount: on any resource": (
        too_wide,
        lambda things: things["policies"]["kms endpoint"]["OurAccount"].update(Condition={}, Principal=["x"]),
    ),
    "stages may approve": (
        approves_its_own,
        lambda things: things["policies"]["stages"]["ModelPackages"]["Action"].append("sagemaker:UpdateModelPackage"),
    ),
    "stages are not kept from approving": (
        approves_its_own,
        lambda things: things["policies"]["stages"].pop("ApprovesNothing"),
    ),
    "stages: sagemaker:StopEndpoint": (
        shut_out,
        lambda things: things["policies"]["stages"]["Jobs"]["Action"].append("sagemaker:StopEndpoint"),
    ),
}


@pytest.mark.parametrize("finding", BREAKS)
def test_a_broken_rule_is_found(finding: str) -> None:
    rule, break_ = BREAKS[finding]
    things = copy.deepcopy(of_cloudformation())
    break_(things)
    assert [*rule(things)] == [finding]


def test_each_resource_that_cannot_be_named_has_its_reason_above_it() -> None:
    lines = (INFRASTRUCTURE / "aws" / "every_role.tf").read_text().splitlines()
    for sid in NO_RESOURCE:
        (place,) = [number for number, line in enumerate(lines) if re.search(rf'Sid += "{sid}"', line)]
        assert re.match(r' +# "\*": \w+', lines[place - 1]), sid
    assert sum('Resource = ["*"]' in re.sub(" +", " ", line) for line in lines) == len(NO_RESOURCE)


WIDE = re.compile(
    r"FullAccess|AdministratorAccess|PowerUserAccess|0\.0\.0\.0/0|::/0|AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY"
)


def test_no_file_has_a_policy_of_full_access_an_open_range_or_a_secret() -> None:
    files = [path for path in INFRASTRUCTURE.rglob("*") if path.suffix in (".tf", ".yaml", ".yml", ".json", ".sh")]
    assert len(files) > 40
    assert [path.name for path in files if path.parts[-2] != "serving" and WIDE.search(path.read_text())] == []
    assert WIDE.search('"arn:aws:iam::aws:policy/AmazonS3FullAccess"')
