# How the network reaches AWS: a gateway for S3, and an address of its own for each other service.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${var.region}.s3"
  route_table_ids   = [aws_route_table.private.id]
  # Data cannot leave through it to a stranger's bucket. ECR keeps the layers of images in a bucket of AWS's.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OurBucket"
        Effect    = "Allow"
        Principal = "*"
        Action = [
          "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetBucketAcl", "s3:GetBucketLocation", "s3:GetObject",
          "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts", "s3:PutObject",
        ]
        Resource = [local.bucket, "${local.bucket}/*"]
      },
      {
        Sid       = "LayersOfImages"
        Effect    = "Allow"
        Principal = "*"
        Action    = ["s3:GetObject"]
        Resource  = ["${local.arn}:s3:::prod-${var.region}-starport-layer-bucket/*"]
      },
    ]
  })
}

# Service → what may be asked of it from within the network: what the roles may do, and calls of endpoints.
locals {
  interfaces = {
    "ecr.api" = [
      "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken",
      "ecr:GetDownloadUrlForLayer",
    ]
    "ecr.dkr" = [
      "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken",
      "ecr:GetDownloadUrlForLayer",
    ]
    "glue" = [
      "glue:CreateDatabase", "glue:CreateTable", "glue:DeleteTable", "glue:GetDatabase", "glue:GetTable",
      "glue:GetTables", "glue:UpdateTable",
    ]
    "kms"  = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
    "logs" = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    "sagemaker.api" = [
      "sagemaker:AddTags", "sagemaker:CreateFeatureGroup", "sagemaker:CreateModel", "sagemaker:CreateModelPackage",
      "sagemaker:CreateProcessingJob", "sagemaker:CreateTrainingJob", "sagemaker:CreateTransformJob",
      "sagemaker:DeleteTags", "sagemaker:DescribeFeatureGroup", "sagemaker:DescribeModel",
      "sagemaker:DescribeModelPackage", "sagemaker:DescribeModelPackageGroup", "sagemaker:DescribeProcessingJob",
      "sagemaker:DescribeTrainingJob", "sagemaker:DescribeTransformJob", "sagemaker:ListModelPackages",
      "sagemaker:ListTags", "sagemaker:StopProcessingJob", "sagemaker:StopTrainingJob", "sagemaker:StopTransformJob",
    ]
    "sagemaker.featurestore-runtime" = [
      "sagemaker:BatchGetRecord", "sagemaker:BatchWriteRecord", "sagemaker:DeleteRecord", "sagemaker:GetRecord",
      "sagemaker:PutRecord",
    ]
    "sagemaker.runtime" = ["sagemaker:InvokeEndpoint"]
    "secretsmanager"    = ["secretsmanager:GetSecretValue"]
    "sts"               = ["sts:AssumeRole", "sts:GetCallerIdentity"]
  }
}

resource "aws_vpc_endpoint" "interface" {
  for_each            = local.interfaces
  vpc_id              = aws_vpc.this.id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.private[*].id
  security_group_ids  = [aws_security_group.endpoints.id]
  # Nobody brings the keys of a stranger's account in, to carry data out to it.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OurAccount"
        Effect    = "Allow"
        Principal = "*"
        Action    = each.value
        Resource  = "*"
        Condition = { StringEquals = { "aws:PrincipalAccount" = local.account } }
      },
    ]
  })
}
