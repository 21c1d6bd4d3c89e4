# What profiles.yml needs; README.md shows where each goes.
output "workspace" {
  description = "profiles.yml: workspace"
  value       = "s3://${aws_s3_bucket.this.bucket}/${var.prefix}"
}

output "role" {
  description = "profiles.yml: target.role"
  value       = aws_iam_role.pipeline.arn
}

output "endpoint_role" {
  description = "The role of models that answer requests"
  value       = aws_iam_role.endpoint.arn
}

output "schedule_role" {
  description = "profiles.yml: target.score.role"
  value       = aws_iam_role.schedule.arn
}

output "features_policy" {
  description = "For people and roles who publish and query feature tables"
  value       = aws_iam_policy.features.arn
}

output "subnets" {
  description = "profiles.yml: target.network.subnets"
  value       = aws_subnet.private[*].id
}

output "security_groups" {
  description = "profiles.yml: target.network.security_groups"
  value       = [aws_security_group.jobs.id]
}

output "repository" {
  description = "Where the images of stages and endpoints are pushed; profiles.yml: target.image begins with it"
  value       = aws_ecr_repository.this.repository_url
}

output "kms_key" {
  description = "profiles.yml: target.kms_key"
  value       = aws_kms_key.this.arn
}

output "alarms" {
  description = "profiles.yml: target.endpoint.shift.alarms, those of the variant"
  value       = sort([for alarm in aws_cloudwatch_metric_alarm.endpoint : alarm.alarm_name])
}
