# What any container in this network needs, whichever role it has: to see the folder, pull its image, use the key, read its
# secrets, have an address, and count.
resource "aws_iam_policy" "container" {
  name = "${var.name}-container"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
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
        Action   = ["s3:GetBucketAcl", "s3:GetBucketLocation"]
        Resource = [local.bucket]
      },
      {
        Sid      = "UseKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
        Resource = [aws_kms_key.this.arn]
      },
      {
        # SageMaker mounts a job's disk with a grant on the key; AWS services alone may ask for one.
        Sid       = "GrantKeyToDisks"
        Effect    = "Allow"
        Action    = ["kms:CreateGrant"]
        Resource  = [aws_kms_key.this.arn]
        Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
      },
      {
        Sid      = "PullImages"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = [aws_ecr_repository.this.arn]
      },
      {
        # profiles.yml: target.secrets. They begin with this name.
        Sid      = "ReadSecrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = ["${local.arn}:secretsmanager:${local.at}:secret:${var.name}/*"]
      },
      {
        # "*": AWS has no resource for it; the token opens nothing by itself.
        Sid      = "EnterRegistry"
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"]
      },
      {
        # "*": metrics are no resource; the condition bounds their names.
        Sid       = "Count"
        Effect    = "Allow"
        Action    = ["cloudwatch:PutMetricData"]
        Resource  = ["*"]
        Condition = { StringLike = { "cloudwatch:namespace" = ["/aws/sagemaker/*", "aws/sagemaker/*", var.name] } }
      },
      {
        # "*": AWS has no resource for what only looks.
        Sid    = "SeeNetwork"
        Effect = "Allow"
        Action = [
          "ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets",
          "ec2:DescribeVpcEndpoints", "ec2:DescribeVpcs",
        ]
        Resource = ["*"]
      },
      {
        Sid    = "JoinNetwork"
        Effect = "Allow"
        Action = ["ec2:CreateNetworkInterface"]
        Resource = concat(
          ["${local.arn}:ec2:${local.at}:network-interface/*"],
          [for subnet in aws_subnet.private : subnet.arn],
          [aws_security_group.jobs.arn],
        )
      },
      {
        # Interfaces have no names: those in this network's subnets.
        Sid       = "KeepInterface"
        Effect    = "Allow"
        Action    = ["ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface", "ec2:DeleteNetworkInterfacePermission"]
        Resource  = ["${local.arn}:ec2:${local.at}:network-interface/*"]
        Condition = { ArnEquals = { "ec2:Vpc" = aws_vpc.this.arn } }
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "container" {
  for_each   = { pipeline = aws_iam_role.pipeline.name, endpoint = aws_iam_role.endpoint.name }
  role       = each.value
  policy_arn = aws_iam_policy.container.arn
}
