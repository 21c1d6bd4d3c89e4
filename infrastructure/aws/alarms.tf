# What is wrong with an endpoint, for each of its variants. profiles.yml may name these alarms as endpoint.shift.alarms:
# a traffic shift then rolls back by itself. An endpoint that does not exist is silent, not alarming.
resource "aws_cloudwatch_log_group" "endpoint" {
  name              = "/aws/sagemaker/Endpoints/${var.endpoint}"
  retention_in_days = var.log_days
  kms_key_id        = aws_kms_key.this.arn
}

locals {
  # Metrics of the machines are in a namespace of their own, and count 100 for each processor.
  alarms = {
    errors      = { space = "AWS/SageMaker", metric = "Invocation5XXErrors", statistic = "Sum", above = 5, unit = "answers 5xx in 5 minutes" }
    latency     = { space = "AWS/SageMaker", metric = "ModelLatency", statistic = "p99", above = var.latency_ms * 1000, unit = "microseconds, the slowest 1 %" }
    invocations = { space = "AWS/SageMaker", metric = "InvocationsPerInstance", statistic = "Sum", above = 60000, unit = "requests an instance in 5 minutes" }
    cpu         = { space = "/aws/sagemaker/Endpoints", metric = "CPUUtilization", statistic = "Average", above = 170, unit = "percent of two processors" }
    memory      = { space = "/aws/sagemaker/Endpoints", metric = "MemoryUtilization", statistic = "Average", above = 85, unit = "percent" }
    disk        = { space = "/aws/sagemaker/Endpoints", metric = "DiskUtilization", statistic = "Average", above = 80, unit = "percent" }
  }
  watched = merge([
    for variant in ["champion", "challenger"] : {
      for kind, alarm in local.alarms : "${variant}-${kind}" => merge(alarm, { variant = variant })
    }
  ]...)
}

resource "aws_cloudwatch_metric_alarm" "endpoint" {
  for_each            = local.watched
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.metric} above ${each.value.above} (${each.value.unit})"
  namespace           = each.value.space
  metric_name         = each.value.metric
  dimensions          = { EndpointName = var.endpoint, VariantName = each.value.variant }
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  period              = 300
  evaluation_periods  = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.notices.arn]
  ok_actions          = [aws_sns_topic.notices.arn]
}
