"""The feature group that describes a features table in SageMaker Feature Store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakewright.targets.sagemaker.settings import SageMakerSettings

if TYPE_CHECKING:
    import pyarrow as pa


def feature_group(name: str, schema: pa.Schema, settings: SageMakerSettings) -> dict[str, Any]:
    """The body of CreateFeatureGroup for a features table (record_id, event_time, …).

    Whole numbers are Integral, others Fractional; other types are String: times in ISO 8601, lists and structs as JSON.
    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_FeatureDefinition.html
    """
    assert settings.feature_store is not None
    key = {"KmsKeyId": settings.kms_key} if settings.kms_key else {}
    return {
        "FeatureGroupName": name,
        "RecordIdentifierFeatureName": "record_id",
        "EventTimeFeatureName": "event_time",
        "FeatureDefinitions": [definition(field) for field in schema],
        "OfflineStoreConfig": {"S3StorageConfig": {"S3Uri": settings.feature_store, **key}},
        "RoleArn": settings.role,
        "Description": "Lakewright's features table, typed",
    }


def definition(field: pa.Field) -> dict[str, str]:
    import pyarrow as pa

    kind = field.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return {"FeatureName": field.name, "FeatureType": "Integral"}
    number = pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return {"FeatureName": field.name, "FeatureType": "Fractional" if number else "String"}
