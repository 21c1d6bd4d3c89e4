# What `lakewright features publish|published|query` need beside the folder, for people or roles who run them: records of
# feature groups, and Athena over what lies offline, in the bucket's folder. No role here has it.
resource "aws_iam_policy" "features" {
  name = "${var.name}-features"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Records"
        Effect = "Allow"
        Action = [
          "sagemaker:BatchGetRecord", "sagemaker:BatchWriteRecord", "sagemaker:CreateFeatureGroup",
          "sagemaker:DeleteRecord", "sagemaker:DescribeFeatureGroup", "sagemaker:GetRecord", "sagemaker:PutRecord",
        ]
        Resource = ["${local.sagemaker}:feature-group/*"]
      },
      {
        # A feature group acts as the role of stages.
        Sid       = "PassRole"
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = [local.pipeline]
        Condition = { StringEquals = { "iam:PassedToService" = local.services } }
      },
      {
        Sid      = "Query"
        Effect   = "Allow"
        Action   = ["athena:GetQueryExecution", "athena:GetQueryResults", "athena:StartQueryExecution"]
        Resource = ["${local.arn}:athena:${local.at}:workgroup/primary"]
      },
      {
        Sid    = "OfflineTables"
        Effect = "Allow"
        Action = ["glue:GetDatabase", "glue:GetPartitions", "glue:GetTable"]
        Resource = [
          "${local.glue}:catalog", "${local.glue}:database/sagemaker_featurestore",
          "${local.glue}:table/sagemaker_featurestore/*",
        ]
      },
      {
        # Feature Store writes below target.feature_store, and answers lie below its athena/.
        Sid      = "OfflineRows"
        Effect   = "Allow"
        Action   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
        Resource = ["${local.bucket}/${var.prefix}/*"]
      },
      {
        Sid       = "SeeFolder"
        Effect    = "Allow"
        Action    = ["s3:ListBucket"]
        Resource  = [local.bucket]
        Condition = { StringLike = { "s3:prefix" = [var.prefix, "${var.prefix}/*"] } }
      },
      {
        Sid      = "SeeBucket"
        Effect   = "Allow"
        Action   = ["s3:GetBucketLocation"]
        Resource = [local.bucket]
      },
      {
        Sid      = "UseKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
        Resource = [aws_kms_key.this.arn]
      },
    ]
  })
}
