"""A stand-in for SageMaker Feature Store and Athena at an address. Requests and answers are held to botocore's models;
records behave as the pages of the service say: of two of a key the one of the later event stays online, and every one
is appended offline."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.session
import duckdb
from botocore import xform_name

from platforms.sagemaker.runner import against

ACCOUNT = "123456789012"
SERVICES = {"SageMaker": "sagemaker", "AmazonAthena": "athena"}
Json = dict[str, Any]


@cache
def model_of(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


class Refusal(Exception):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


@dataclass
class FeatureStore:
    groups: dict[str, Json] = field(default_factory=dict)
    online: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)  # group → identifier → record
    offline: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)  # ARN → key → value
    calls: list[str] = field(default_factory=list)
    left_out: int = 0  # of the next batches, all records but one are not processed
    throttled: int = 0  # of the next requests
    after: Callable[[str], None] = lambda operation: None
    answers: dict[str, list[tuple[list[str], list[str], list[tuple[Any, ...]]]]] = field(default_factory=dict)
    tables: Sequence[str] = ()  # statements that make more tables for Athena
    lock: Any = field(default_factory=threading.RLock)

    def call(self, service: str, operation: str, request: Json) -> Json:
        model = model_of(service).operation_model(operation)
        if wrong := against(model.input_shape, request, operation):
            raise Refusal("ValidationException", wrong)
        with self.lock:
            self.calls.append(operation)
            if self.throttled and service.endswith("runtime"):
                self.throttled -= 1
                raise Refusal("ThrottlingException", "Rate exceeded")
            answer: Json = getattr(self, xform_name(operation))(request)
        if model.output_shape is not None:
            wrong = against(model.output_shape, answer, operation)
            assert not wrong, wrong
        self.after(operation)
        return answer

    # sagemaker

    def create_feature_group(self, request: Json) -> Json:
        name = request["FeatureGroupName"]
        if name in self.groups:
            raise Refusal("ResourceInUse", f"Resource Already Exists: {name}")
        arn = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:feature-group/{name}"
        self.groups[name] = {**request, "FeatureGroupArn": arn, "FeatureGroupStatus": "Creating"}
        self.online[name], self.offline[name] = {}, []
        if "OfflineStoreConfig" in request:
            table = {
                "TableName": f"{name.replace('-', '_')}_1700000000",
                "Catalog": "AwsDataCatalog",
                "Database": "sagemaker_featurestore",
            }
            self.groups[name]["OfflineStoreConfig"] = {**request["OfflineStoreConfig"], "DataCatalogConfig": table}
        return {"FeatureGroupArn": arn}

    def describe_feature_group(self, request: Json) -> Json:
        group = self._group(request)
        before = {**group, "CreationTime": 1_700_000_000.0, "NextToken": ""}
        if group["FeatureGroupStatus"] == "Creating":
            group["FeatureGroupStatus"] = "Created"
        return before

    def _group(self, request: Json) -> Json:
        name = request["FeatureGroupName"]
        if name not in self.groups:
            raise Refusal(
                "ResourceNotFound", f"Resource Not Found: Amazon SageMaker can't find a FeatureGroup with name {name}"
            )
        return self.groups[name]

    def add_tags(self, request: Json) -> Json:
        tags = self._tags(request)
        tags.update({each["Key"]: each["Value"] for each in request["Tags"]})
        if len(tags) > 50:
            raise Refusal("ResourceLimitExceeded", "more than 50 tags")
        return {"Tags": request["Tags"]}

    def list_tags(self, request: Json) -> Json:
        tags = [{"Key": key, "Value": value} for key, value in self._tags(request).items()]
        begin = int(request.get("NextToken", 0))
        answer: Json = {"Tags": tags[begin : begin + 7]}
        return {**answer, "NextToken": str(begin + 7)} if begin + 7 < len(tags) else answer

    def delete_tags(self, request: Json) -> Json:
        for key in request["TagKeys"]:
            self._tags(request).pop(key, None)
        return {}

    def _tags(self, request: Json) -> dict[str, str]:
        arn = request["ResourceArn"]
        self._group({"FeatureGroupName": arn.rpartition("/")[2]})
        return self.tags.setdefault(arn, {})

    # sagemaker-featurestore-runtime

    def batch_get_record(self, request: Json) -> Json:
        records, left = [], []
        for each in request["Identifiers"]:
            self._group(each)
            asked = each["RecordIdentifiersValueAsString"]
            if self.left_out and len(asked) > 1:
                self.left_out -= 1
                left.append({**each, "RecordIdentifiersValueAsString": asked[1:]})
                asked = asked[:1]
            for identifier in asked:
                found = self.online[each["FeatureGroupName"]].get(identifier)
                if found is not None:
                    values = [
                        {"FeatureName": name, "ValueAsString": value}
                        for name, value in found.items()
                        if name in each.get("FeatureNames", found)
                    ]
                    name = each["FeatureGroupName"]
                    records.append(
                        {"FeatureGroupName": name, "RecordIdentifierValueAsString": identifier, "Record": values}
                    )
        return {"Records": records, "Errors": [], "UnprocessedIdentifiers": left}

    def batch_write_record(self, request: Json) -> Json:
        entries, left = request["Entries"], []
        if self.left_out and len(entries) > 1:
            self.left_out -= 1
            entries, left = entries[:1], entries[1:]
        errors = []
        for each in entries:
            if why := self._put(each):
                errors.append({"Entry": each, "ErrorCode": "ValidationError", "ErrorMessage": why})
        return {"Errors": errors, "UnprocessedEntries": left}

    def _put(self, entry: Json) -> str:
        group, name = self._group(entry), entry["FeatureGroupName"]
        record = {each["FeatureName"]: each["ValueAsString"] for each in entry["Record"]}
        types = {each["FeatureName"]: each["FeatureType"] for each in group["FeatureDefinitions"]}
        for feature, value in record.items():
            if feature not in types:
                return f"{feature} is no feature of {name}"
            try:
                {"Integral": int, "Fractional": float, "String": str}[types[feature]](value)
            except ValueError:
                return f"{feature}: {value!r} is not {types[feature]}"
        event = group["EventTimeFeatureName"]
        if group["RecordIdentifierFeatureName"] not in record or event not in record:
            return "the record identifier or the event's time is missing"
        identifier = record[group["RecordIdentifierFeatureName"]]
        there = self.online[name].get(identifier)
        if there is None or float(record[event]) > float(there[event]):
            self.online[name][identifier] = record
        self.offline[name].append(record)
        return ""

    def delete_record(self, request: Json) -> Json:
        assert request["DeletionMode"] == "HardDelete" and request["TargetStores"] == ["OnlineStore"]
        group, identifier = self._group(request), request["RecordIdentifierValueAsString"]
        records = self.online[request["FeatureGroupName"]]
        if float(records[identifier][group["EventTimeFeatureName"]]) >= float(request["EventTime"]):
            raise Refusal("ValidationException", "EventTime is not later than the record's")
        del records[identifier]
        return {}

    # athena

    def start_query_execution(self, request: Json) -> Json:
        self.answers.clear()
        with duckdb.connect() as connection:
            connection.execute("CREATE SCHEMA sagemaker_featurestore")
            for statement in self.tables:
                connection.execute(statement)
            for name, group in self.groups.items():
                place = group.get("OfflineStoreConfig", {}).get("DataCatalogConfig")
                if place is None:
                    continue
                types = {"Integral": "BIGINT", "Fractional": "DOUBLE", "String": "VARCHAR"}
                columns = {each["FeatureName"]: types[each["FeatureType"]] for each in group["FeatureDefinitions"]}
                table = f'sagemaker_featurestore."{place["TableName"]}"'
                typed = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
                connection.execute(f"CREATE TABLE {table} ({typed})")
                for record in self.offline[name]:
                    marks = ", ".join("?" * len(columns))
                    connection.execute(f"INSERT INTO {table} VALUES ({marks})", [record.get(each) for each in columns])
            try:
                found = connection.execute(request["QueryString"])
                kinds = [str(each[1]).lower() for each in found.description]
                self.answers["query"] = [([each[0] for each in found.description], kinds, found.fetchall())]
            except duckdb.Error as error:
                self.answers["failed"] = [([str(error)], [], [])]
        return {"QueryExecutionId": "a1b2"}

    def get_query_execution(self, request: Json) -> Json:
        if self.calls[-2] == "StartQueryExecution":
            return {"QueryExecution": {"Status": {"State": "RUNNING"}}}
        if "failed" in self.answers:
            why = self.answers["failed"][0][0][0]
            return {"QueryExecution": {"Status": {"State": "FAILED", "StateChangeReason": why}}}
        return {"QueryExecution": {"Status": {"State": "SUCCEEDED"}}}

    def get_query_results(self, request: Json) -> Json:
        ((names, kinds, rows),) = self.answers["query"]
        cells = [[{} if each is None else {"VarCharValue": _cell(each)} for each in row] for row in rows]
        lines = [{"Data": [{"VarCharValue": name} for name in names]}, *({"Data": row} for row in cells)]
        begin = int(request.get("NextToken", 0))
        about = [{"Name": name, **_athena_type(kind)} for name, kind in zip(names, kinds, strict=True)]
        answer: Json = {"ResultSet": {"Rows": lines[begin : begin + 2], "ResultSetMetadata": {"ColumnInfo": about}}}
        return {**answer, "NextToken": str(begin + 2)} if begin + 2 < len(lines) else answer


def _athena_type(kind: str) -> Json:
    """Of a type of DuckDB's."""
    if kind.startswith("decimal"):
        precision, scale = kind.removeprefix("decimal(").rstrip(")").split(",")
        return {"Type": "decimal", "Precision": int(precision), "Scale": int(scale)}
    same = ("tinyint", "smallint", "integer", "bigint", "double", "boolean", "date", "timestamp")
    return {"Type": kind if kind in same else {"float": "float"}.get(kind, "varchar")}


def _cell(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def served(store: FeatureStore) -> Iterator[dict[str, str]]:
    """The store at an address; yields the environment with which boto3 finds it."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request, target = json.loads(body or b"{}"), self.headers.get("X-Amz-Target")
            place = urlsplit(self.path)
            if target is not None:
                service, operation = SERVICES[target.split(".")[0].split("_")[0]], target.split(".")[1]
            else:
                service = "sagemaker-featurestore-runtime"
                operation = {"DELETE": "DeleteRecord"}.get(self.command, place.path.strip("/"))
                if self.command == "DELETE":
                    given = parse_qs(place.query)
                    request = {name: each if name == "TargetStores" else each[0] for name, each in given.items()}
                    request["FeatureGroupName"] = place.path.rpartition("/")[2]
            try:
                status, content = 200, store.call(service, operation, request)
                headers = {}
            except Refusal as refusal:
                status, content = (
                    refusal.status,
                    {"__type": refusal.code, "message": str(refusal), "Message": str(refusal)},
                )
                headers = {"X-Amzn-ErrorType": refusal.code}
            data = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {
                **headers,
                "Content-Length": str(len(data)),
                "Content-Type": "application/json",
            }.items():
                self.send_header(name, value)
            with suppress(BrokenPipeError):  # who asked was killed
                self.end_headers()
                self.wfile.write(data)

        do_POST = do_DELETE = answer  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    names = ("SAGEMAKER", "SAGEMAKER_FEATURESTORE_RUNTIME", "ATHENA")
    try:
        yield {
            **{f"AWS_ENDPOINT_URL_{name}": address for name in names},
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1",
        }  # fmt: skip
    finally:
        server.shutdown()
        server.server_close()
