"""A strict stand-in for Unity Catalog on loopback, and an S3 that only takes the keys it lends.

What a request may hold is read off databricks-sdk itself: the parameters of the method that sends it, and the
dataclasses and enumerations these are made of. Unknown fields, wrong types and unknown values are refused, as is who
has no token, or lacks a privilege that https://docs.databricks.com/data-governance/unity-catalog names for the call.
The keys are those of moto's STS, whose policies moto's S3 enforces.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import http.server
import inspect
import json
import re
import subprocess
import sys
import threading
import time
import types
import typing
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from databricks.sdk.service import catalog as uc

from conftest import free_port

BUCKET = "guarded"
PRINCIPAL, TOKEN = "someone@example.com", "dapi-the-token-of-someone"
# To read and write everything below the catalog main and the external location, and to make schemas there.
ALL = {
    ("USE CATALOG", "Catalog", "main"),
    ("CREATE SCHEMA", "Catalog", "main"),
    ("USE SCHEMA", "Catalog", "main"),
    ("CREATE TABLE", "Catalog", "main"),
    ("SELECT", "Catalog", "main"),
    ("MODIFY", "Catalog", "main"),
    ("EXTERNAL USE SCHEMA", "Catalog", "main"),
    ("EXTERNAL USE LOCATION", "External Location", "lake"),
    ("CREATE EXTERNAL TABLE", "External Location", "lake"),
}


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] = {}, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.headers = status, headers
        info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason or code,
            "domain": "unity-catalog",
        }
        self.body = {"error_code": code, "message": message, "details": [info]}


# What a request may hold -------------------------------------------------------------------------------------------


def fits(value: Any, kind: Any, where: str) -> None:
    """Refuses what is not of the SDK's type; JSON null is no value of any."""
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (kind,) = (each for each in of if each is not type(None))
        return fits(value, kind, where)
    if origin is list:
        expect(isinstance(value, list), f"{where} is no list")
        for i, each in enumerate(value):
            fits(each, of[0], f"{where}[{i}]")
    elif origin is dict:
        expect(isinstance(value, dict), f"{where} is no map")
        for name, each in value.items():
            fits(each, of[1], f"{where}.{name}")
    elif dataclasses.is_dataclass(kind):
        expect(isinstance(value, dict), f"{where} is no object")
        fields = typing.get_type_hints(kind)
        for name, each in value.items():
            expect(name in fields, f"{where} has no field {name}")
            fits(each, fields[name], f"{where}.{name}")
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        expect(value in {each.value for each in kind}, f"{where}: {value!r} is none of {kind.__name__}")
    else:
        expect(type(value) is kind, f"{where}: {value!r} is no {kind.__name__}")
    return None


def expect(true: bool, message: str) -> None:
    if not true:
        raise Refused(400, "INVALID_PARAMETER_VALUE", message)


def parameters(method: Callable[..., Any], in_path: set[str]) -> tuple[dict[str, Any], set[str]]:
    """name → type of what an SDK method sends beside what stands in the path, and which it has to send."""
    kinds = typing.get_type_hints(method)
    sent = {name: each for name, each in inspect.signature(method).parameters.items() if name not in {"self", *in_path}}
    return {name: kinds[name] for name in sent}, {name for name, each in sent.items() if each.default is each.empty}


def from_query(text: str, kind: Any) -> Any:
    plain = typing.get_args(kind)[0] if typing.get_args(kind) else kind
    if plain is bool and text in ("true", "false"):
        return text == "true"
    return int(text) if plain is int and text.isdecimal() else text


# The server --------------------------------------------------------------------------------------------------------

Lend = Callable[[str, bool], "uc.AwsCredentials"]  # the keys to a URI, to read or to write


@dataclass
class Unity:
    """The metastore: one principal, one catalog `main`, one external location `lake`."""

    lend: Lend
    external_location: str
    privileges: set[tuple[str, str, str]] = field(default_factory=lambda: set(ALL))
    schemas: set[str] = field(default_factory=set)
    tables: dict[str, uc.TableInfo] = field(default_factory=dict)
    granted: dict[tuple[str, str], dict[str, set[str]]] = field(default_factory=dict)
    external_access: bool = True
    seconds: float = 3600  # that keys hold
    throttled: int = 0  # requests that are yet to be refused as too many
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    address: str = ""
    token: str = TOKEN
    lock: threading.RLock = field(default_factory=threading.RLock)

    def lacks(self, privilege: str) -> None:
        """From now on, the principal does."""
        self.privileges = {each for each in self.privileges if each[0] != privilege}

    def asked(self, part: str) -> list[Any]:
        """Bodies and queries of the requests whose path has that part."""
        return [sent for _, path, sent in self.calls if part in path]

    def need(self, privilege: str, kind: str, name: str) -> None:
        """A privilege on a catalog holds for what is in it, one on a schema too."""
        above = {"Table": ["Table", "Schema", "Catalog"], "Schema": ["Schema", "Catalog"]}.get(kind, [kind])
        parts = name.split(".")
        names = {"Table": name, "Schema": ".".join(parts[:2]), "Catalog": parts[0], "External Location": name}
        if not any((privilege, each, names[each]) in self.privileges for each in above):
            raise Refused(403, "PERMISSION_DENIED", f"User does not have {privilege} on {kind} '{name}'.")

    def inside(self, full_name: str) -> None:
        catalog, schema = full_name.split(".")[:2]
        if catalog != "main":
            raise Refused(404, "CATALOG_DOES_NOT_EXIST", f"Catalog '{catalog}' does not exist.")
        self.need("USE CATALOG", "Catalog", catalog)
        if f"{catalog}.{schema}" not in self.schemas:
            raise Refused(404, "SCHEMA_DOES_NOT_EXIST", f"Schema '{catalog}.{schema}' does not exist.")
        self.need("USE SCHEMA", "Schema", f"{catalog}.{schema}")

    def table(self, full_name: str) -> uc.TableInfo:
        self.inside(full_name)
        if full_name.lower() not in self.tables:
            raise Refused(404, "TABLE_DOES_NOT_EXIST", f"Table '{full_name}' does not exist.")
        found = self.tables[full_name.lower()]
        if found.owner != PRINCIPAL:
            self.need("SELECT", "Table", full_name)
        return found

    def covered(self, url: str) -> None:
        if not url.startswith(self.external_location + "/"):
            raise Refused(403, "PERMISSION_DENIED", f"No external location covers '{url}'.")
        self.need("EXTERNAL USE LOCATION", "External Location", "lake")

    def keys(self, url: str, write: bool) -> dict[str, Any]:
        if not self.external_access:
            message = f"Request to generate access credential for '{url}' from outside is denied for security."
            raise Refused(
                401, "UNAUTHENTICATED", message, reason="UNITY_CATALOG_EXTERNAL_GENERATE_TABLE_CREDENTIALS_DENIED"
            )
        until = int((time.time() + self.seconds) * 1000)
        return {"aws_temp_credentials": self.lend(url, write), "expiration_time": until, "url": url}

    # One method a call, named after the SDK's ------------------------------------------------------------------

    def catalogs_list(self, **_: Any) -> dict[str, Any]:
        return {"catalogs": [uc.CatalogInfo(name="main", full_name="main").as_dict()]}

    def schemas_list(self, catalog_name: str, **_: Any) -> dict[str, Any]:
        self.need("USE CATALOG", "Catalog", catalog_name)
        names = sorted(each.split(".")[1] for each in self.schemas if each.startswith(f"{catalog_name}."))
        return {"schemas": [self.schema_info(f"{catalog_name}.{name}") for name in [*names, "information_schema"]]}

    def schemas_get(self, full_name: str, **_: Any) -> dict[str, Any]:
        self.inside(full_name)
        return self.schema_info(full_name)

    def schemas_create(self, name: str, catalog_name: str, **_: Any) -> dict[str, Any]:
        if catalog_name != "main":
            raise Refused(404, "CATALOG_DOES_NOT_EXIST", f"Catalog '{catalog_name}' does not exist.")
        self.need("CREATE SCHEMA", "Catalog", catalog_name)
        if f"{catalog_name}.{name}" in self.schemas:
            raise Refused(400, "SCHEMA_ALREADY_EXISTS", f"Schema '{name}' already exists")
        self.schemas.add(f"{catalog_name}.{name}".lower())
        return self.schema_info(f"{catalog_name}.{name}")

    def schema_info(self, full_name: str) -> dict[str, Any]:
        catalog, name = full_name.split(".")
        return uc.SchemaInfo(name=name, catalog_name=catalog, full_name=full_name).as_dict()

    def tables_get(self, full_name: str, **_: Any) -> dict[str, Any]:
        return self.table(full_name).as_dict()

    def tables_list(self, catalog_name: str, schema_name: str, page_token: str = "0", **_: Any) -> dict[str, Any]:
        """Pages of one table, the first of them empty: a client has to go on until there is no token."""
        self.inside(f"{catalog_name}.{schema_name}")
        found = [each for name, each in self.tables.items() if name.startswith(f"{catalog_name}.{schema_name}.")]
        page = int(page_token)
        more = {"next_page_token": str(page + 1)} if page < len(found) else {}
        return (
            {"tables": [each.as_dict() for each in found[page - 1 : page]], **more} if page else {"tables": [], **more}
        )

    def tables_create(self, **sent: Any) -> dict[str, Any]:
        expect(sent["table_type"] == "EXTERNAL", "only external tables can be made")
        expect(sent["data_source_format"] == "DELTA", "only Delta tables can be made")
        schema = f"{sent['catalog_name']}.{sent['schema_name']}"
        full_name = f"{schema}.{sent['name']}".lower()
        self.inside(full_name)
        self.need("CREATE TABLE", "Schema", schema)
        self.need("EXTERNAL USE SCHEMA", "Schema", schema)
        self.covered(sent["storage_location"])
        self.need("CREATE EXTERNAL TABLE", "External Location", "lake")
        if full_name in self.tables:
            raise Refused(400, "TABLE_ALREADY_EXISTS", f"Table '{full_name}' already exists")
        for other in self.tables.values():
            if (str(other.storage_location) + "/").startswith(sent["storage_location"].rstrip("/") + "/"):
                raise Refused(400, "LOCATION_OVERLAP", f"{sent['storage_location']} overlaps with {other.full_name}")
        for position, column in enumerate(sent.get("columns", [])):
            expect({"name", "type_text", "type_json", "type_name"} <= set(column), f"column {position} is not whole")
            expect(column["position"] == position, f"column {column['name']} stands elsewhere")
        return self.add(uc.TableInfo.from_dict({**sent, "full_name": full_name})).as_dict()

    def add(self, table: uc.TableInfo) -> uc.TableInfo:
        table.table_id, table.owner = str(uuid4()), table.owner or PRINCIPAL
        table.created_at = table.updated_at = time.time_ns() // 1_000_000
        self.schemas.add(".".join(str(table.full_name).split(".")[:2]))
        self.tables[str(table.full_name)] = table
        return table

    def tables_delete(self, full_name: str) -> dict[str, Any]:
        if self.table(full_name).owner != PRINCIPAL:
            raise Refused(403, "PERMISSION_DENIED", f"User is not an owner of Table '{full_name}'.")
        del self.tables[full_name.lower()]
        return {}

    def table_credentials(self, table_id: str = "", operation: str = "READ") -> dict[str, Any]:
        found = next((each for each in self.tables.values() if each.table_id == table_id), None)
        if found is None:
            raise Refused(404, "TABLE_DOES_NOT_EXIST", f"Table '{table_id}' does not exist.")
        name, location = str(found.full_name), str(found.storage_location)
        self.table(name)
        self.need("EXTERNAL USE SCHEMA", "Schema", ".".join(name.split(".")[:2]))
        if operation == "READ_WRITE":
            if found.table_type is uc.TableType.MANAGED:
                raise Refused(400, "INVALID_PARAMETER_VALUE", f"Table '{name}' is managed")
            if found.owner != PRINCIPAL:
                self.need("MODIFY", "Table", name)
        answer = uc.GenerateTemporaryTableCredentialResponse(**self.keys(location, operation == "READ_WRITE"))
        return answer.as_dict()

    def path_credentials(self, url: str, operation: str, **_: Any) -> dict[str, Any]:
        self.covered(url)
        answer = uc.GenerateTemporaryPathCredentialResponse(**self.keys(url, operation != "PATH_READ"))
        return answer.as_dict()

    def grants_get(self, securable_type: str, full_name: str, page_token: str = "0", **_: Any) -> dict[str, Any]:
        expect(securable_type in {each.value for each in uc.SecurableType}, f"no securable {securable_type}")
        found = sorted(self.granted.get((securable_type, full_name), {}).items())
        page = int(page_token)
        more = {"next_page_token": str(page + 1)} if page + 1 < len(found) else {}
        shown = [{"principal": who, "privileges": sorted(what)} for who, what in found[page : page + 1]]
        return {"privilege_assignments": shown, **more}

    def grants_update(self, securable_type: str, full_name: str, changes: Any = (), **_: Any) -> dict[str, Any]:
        expect(securable_type in {each.value for each in uc.SecurableType}, f"no securable {securable_type}")
        for change in changes:
            held = self.granted.setdefault((securable_type, full_name), {}).setdefault(change["principal"], set())
            held |= set(change.get("add", []))
            held -= set(change.get("remove", []))
        return self.grants_get(securable_type, full_name)


V21, V20 = "/api/2.1/unity-catalog", "/api/2.0/unity-catalog"
ROUTES: list[tuple[str, str, Callable[..., Any], Callable[..., dict[str, Any]]]] = [
    ("GET", f"{V21}/catalogs", uc.CatalogsAPI.list, Unity.catalogs_list),
    ("GET", f"{V21}/schemas", uc.SchemasAPI.list, Unity.schemas_list),
    ("GET", f"{V21}/schemas/{{full_name}}", uc.SchemasAPI.get, Unity.schemas_get),
    ("POST", f"{V21}/schemas", uc.SchemasAPI.create, Unity.schemas_create),
    ("GET", f"{V21}/tables", uc.TablesAPI.list, Unity.tables_list),
    ("GET", f"{V21}/tables/{{full_name}}", uc.TablesAPI.get, Unity.tables_get),
    ("POST", f"{V21}/tables", uc.TablesAPI.create, Unity.tables_create),
    ("DELETE", f"{V21}/tables/{{full_name}}", uc.TablesAPI.delete, Unity.tables_delete),
    (
        *("POST", f"{V20}/temporary-table-credentials"),
        *(uc.TemporaryTableCredentialsAPI.generate_temporary_table_credentials, Unity.table_credentials),
    ),
    (
        *("POST", f"{V20}/temporary-path-credentials"),
        *(uc.TemporaryPathCredentialsAPI.generate_temporary_path_credentials, Unity.path_credentials),
    ),
    ("GET", f"{V21}/permissions/{{securable_type}}/{{full_name}}", uc.GrantsAPI.get, Unity.grants_get),
    ("PATCH", f"{V21}/permissions/{{securable_type}}/{{full_name}}", uc.GrantsAPI.update, Unity.grants_update),
]


def answer(unity: Unity, method: str, path: str, query: str, body: bytes, token: str | None) -> dict[str, Any]:
    if path == "/.well-known/databricks-config":
        return {"oidc_endpoint": f"{unity.address}/oidc", "workspace_id": "1234567890"}
    if token != f"Bearer {TOKEN}":
        raise Refused(401, "UNAUTHENTICATED", "Invalid access token.")
    if unity.throttled > 0:
        unity.throttled -= 1
        raise Refused(429, "RESOURCE_EXHAUSTED", "Too many requests.", {"Retry-After": "1"})
    for verb, template, sends, does in ROUTES:
        found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template), path)
        if verb != method or found is None:
            continue
        in_path = {name: urllib.parse.unquote(value) for name, value in found.groupdict().items()}
        kinds, required = parameters(sends, set(in_path))
        if method in ("GET", "DELETE"):
            expect(not body, f"a {method} has no body")
            given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
            sent = {name: from_query(text, kinds.get(name, str)) for name, text in given.items()}
        else:
            expect(not query, f"a {method} has no query")
            sent = json.loads(body)
            expect(isinstance(sent, dict), "the body is no object")
        for name, value in sent.items():
            expect(name in kinds, f"{method} {template} takes no {name}")
            fits(value, kinds[name], name)
        expect(required <= set(sent), f"{method} {template} needs {', '.join(sorted(required - set(sent)))}")
        unity.calls.append((method, path, sent))
        return does(unity, **in_path, **sent)
    raise Refused(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} {path}'")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    unity: Unity

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, headers = 200, dict[str, str]()
        try:
            with self.unity.lock:
                told = answer(self.unity, self.command, path, query, body, self.headers.get("Authorization"))
        except Refused as refused:
            status, told, headers = refused.status, refused.body, dict(refused.headers)
        written = json.dumps(told).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(written)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(written)

    do_POST = do_PATCH = do_DELETE = do_PUT = do_GET  # noqa: N815


def served(unity: Unity) -> http.server.ThreadingHTTPServer:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"unity": unity}))
    unity.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


# S3 with keys that open some of it ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guarded:
    """moto's AWS with its access control on: the bucket `guarded`, and who may do what as IAM says."""

    address: str
    admin: Mapping[str, str]  # delta-rs's options, with the keys to everything
    bucket: str = BUCKET

    @property
    def options(self) -> dict[str, str]:
        """Where S3 is, without keys."""
        return {option: value for option, value in self.admin.items() if "KEY" not in option}

    def client(self, service: str) -> Any:
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.address,
            region_name=self.admin["AWS_REGION"],
            aws_access_key_id=self.admin["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.admin["AWS_SECRET_ACCESS_KEY"],
        )

    def session(self, statements: list[dict[str, Any]]) -> Any:
        """The temporary keys of a role that may do what the statements say."""
        name = hashlib.sha256(json.dumps(statements).encode()).hexdigest()[:32]
        iam, version = self.client("iam"), {"Version": "2012-10-17"}
        trust = [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}]
        try:
            arn = iam.get_role(RoleName=name)["Role"]["Arn"]
        except iam.exceptions.NoSuchEntityException:
            document = json.dumps({**version, "Statement": trust})
            arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
            document = json.dumps({**version, "Statement": statements})
            iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=document)
        return self.client("sts").assume_role(RoleArn=arn, RoleSessionName="lakewright")["Credentials"]

    def lend(self, uri: str, write: bool) -> uc.AwsCredentials:
        """Keys that open what lies under the URI, and nothing beside it."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        objects = ["s3:GetObject", *(["s3:PutObject", "s3:DeleteObject"] if write else [])]
        found = self.session(
            [
                {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": f"arn:aws:s3:::{bucket}"},
                {"Effect": "Allow", "Action": objects, "Resource": f"arn:aws:s3:::{bucket}/{key}/*"},
            ]
        )
        return uc.AwsCredentials(
            access_key_id=found["AccessKeyId"],
            secret_access_key=found["SecretAccessKey"],
            session_token=found["SessionToken"],
        )


@pytest.fixture(scope="session")
def guarded() -> Iterator[Guarded]:
    import boto3

    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/moto-api/data.json", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        open_to_all = {"endpoint_url": address, "region_name": "us-east-1"}
        keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s"}
        boto3.client("s3", **open_to_all, **keys).create_bucket(Bucket=BUCKET)
        iam = boto3.client("iam", **open_to_all, **keys)
        iam.create_user(UserName="admin")
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        iam.put_user_policy(UserName="admin", PolicyName="may", PolicyDocument=json.dumps(everything))
        made = iam.create_access_key(UserName="admin")["AccessKey"]
        # From now on moto checks signatures and policies.
        checked = urllib.request.Request(
            f"{address}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}, method="POST"
        )
        urllib.request.urlopen(checked, timeout=5).close()
        admin = {
            "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
            "AWS_ENDPOINT_URL": address,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        yield Guarded(address, admin)
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def unity(guarded: Guarded) -> Iterator[Unity]:
    """A metastore of its own, whose external location is a place of its own on the guarded S3."""
    metastore = Unity(guarded.lend, f"s3://{BUCKET}/{uuid4().hex[:8]}")
    server = served(metastore)
    yield metastore
    server.shutdown()
    server.server_close()
