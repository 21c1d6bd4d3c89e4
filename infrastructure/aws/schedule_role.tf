# What starts a scoring at its times (profiles.yml: target.score.schedule): EventBridge Scheduler, and nothing else.
resource "aws_iam_role" "schedule" {
  name = "${var.name}-schedule"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Scheduler"
        Effect    = "Allow"
        Principal = { Service = "scheduler.amazonaws.com" }
        Action    = "sts:AssumeRole"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      },
    ]
  })
}

resource "aws_iam_role_policy" "schedule" {
  name = "starting"
  role = aws_iam_role.schedule.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # `lakewright deploy` names the pipelines of scorings PROJECT-score-…
        Sid      = "StartScorings"
        Effect   = "Allow"
        Action   = ["sagemaker:StartPipelineExecution"]
        Resource = ["${local.sagemaker}:pipeline/*-score-*"]
      },
    ]
  })
}
