# What runs stages: the role of the pipeline, of its jobs and of batch transform. A profile has one role, so models
# that the target deploys act as this one, too; endpoint_role.tf is for those that are given their own.
resource "aws_iam_role" "pipeline" {
  name = "${var.name}-pipeline"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "SageMaker"
        Effect    = "Allow"
        Principal = { Service = local.services }
        Action    = "sts:AssumeRole"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      },
    ]
  })
}

resource "aws_iam_role_policy" "pipeline" {
  name = "stages"
  role = aws_iam_role.pipeline.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "WriteBucket"
        Effect = "Allow"
        Action = [
          "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject",
        ]
        Resource = ["${local.bucket}/${var.prefix}/*"]
      },
      {
        Sid    = "WriteLogs"
        Effect = "Allow"
        Action = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = [
          for group in ["Endpoints/${var.endpoint}", "ProcessingJobs", "TrainingJobs", "TransformJobs"] :
          "${local.logs}/${group}:*"
        ]
      },
      {
        # A pipeline calls its jobs pipelines-EXECUTION-STEP-…
        Sid    = "Jobs"
        Effect = "Allow"
        Action = [
          "sagemaker:AddTags", "sagemaker:CreateModel", "sagemaker:CreateProcessingJob", "sagemaker:CreateTrainingJob",
          "sagemaker:CreateTransformJob", "sagemaker:DescribeModel", "sagemaker:DescribeProcessingJob",
          "sagemaker:DescribeTrainingJob", "sagemaker:DescribeTransformJob", "sagemaker:ListTags",
          "sagemaker:StopProcessingJob", "sagemaker:StopTrainingJob", "sagemaker:StopTransformJob",
        ]
        Resource = [
          for kind in ["model", "processing-job", "training-job", "transform-job"] :
          "${local.sagemaker}:${kind}/pipelines-*"
        ]
      },
      {
        Sid    = "ModelPackages"
        Effect = "Allow"
        Action = [
          "sagemaker:AddTags", "sagemaker:CreateModelPackage", "sagemaker:DescribeModelPackage",
          "sagemaker:DescribeModelPackageGroup", "sagemaker:ListModelPackages",
        ]
        Resource = [
          "${local.sagemaker}:model-package-group/${var.group}",
          "${local.sagemaker}:model-package/${var.group}/*",
        ]
      },
      {
        # Who trains a model does not approve it, whatever else this role is given.
        Sid      = "ApprovesNothing"
        Effect   = "Deny"
        Action   = ["sagemaker:UpdateModelPackage"]
        Resource = ["${local.sagemaker}:model-package/*"]
      },
      {
        # Entries of the tables, for Athena.
        Sid    = "Tables"
        Effect = "Allow"
        Action = [
          "glue:CreateDatabase", "glue:CreateTable", "glue:DeleteTable", "glue:GetDatabase", "glue:GetTable",
          "glue:GetTables", "glue:UpdateTable",
        ]
        Resource = ["${local.glue}:catalog", "${local.glue}:database/${var.database}", "${local.glue}:table/${var.database}/*"]
      },
      {
        # The features table's rows are put there, and a tag notes each version that was.
        Sid    = "FeatureGroups"
        Effect = "Allow"
        Action = [
          "sagemaker:AddTags", "sagemaker:BatchWriteRecord", "sagemaker:CreateFeatureGroup", "sagemaker:DeleteTags",
          "sagemaker:DescribeFeatureGroup", "sagemaker:ListTags", "sagemaker:PutRecord",
        ]
        Resource = ["${local.sagemaker}:feature-group/*"]
      },
      {
        # Feature Store enters its offline table itself, as this role, in a database that it names.
        Sid    = "FeatureTables"
        Effect = "Allow"
        Action = ["glue:CreateDatabase", "glue:CreateTable", "glue:GetDatabase", "glue:GetTable", "glue:UpdateTable"]
        Resource = [
          "${local.glue}:catalog", "${local.glue}:database/sagemaker_featurestore",
          "${local.glue}:table/sagemaker_featurestore/*",
        ]
      },
      {
        Sid       = "PassRole"
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = [local.pipeline]
        Condition = { StringEquals = { "iam:PassedToService" = local.services } }
      },
    ]
  })
}
