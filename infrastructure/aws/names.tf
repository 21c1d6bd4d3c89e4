# Names are chosen here, so that a policy can name a thing that is not made yet: jobs, endpoints, log groups.
data "aws_caller_identity" "here" {}
data "aws_partition" "here" {}
data "aws_availability_zones" "here" {
  state = "available"
}

locals {
  account = data.aws_caller_identity.here.account_id
  arn     = "arn:${data.aws_partition.here.partition}"
  at      = "${var.region}:${local.account}"

  bucket    = "${local.arn}:s3:::${var.bucket}"
  sagemaker = "${local.arn}:sagemaker:${local.at}"
  logs      = "${local.arn}:logs:${local.at}:log-group:/aws/sagemaker"
  glue      = "${local.arn}:glue:${local.at}"
  pipeline  = "${local.arn}:iam::${local.account}:role/${var.name}-pipeline"

  # What SageMaker's own agents do on behalf of a role.
  services = "sagemaker.amazonaws.com"
}
