# One page: requests, errors, latency, machines.
locals {
  charts = [
    { title = "Requests", space = "AWS/SageMaker", metrics = ["Invocations"], statistic = "Sum" },
    { title = "Errors", space = "AWS/SageMaker", metrics = ["Invocation4XXErrors", "Invocation5XXErrors"], statistic = "Sum" },
    { title = "Latency in the model, slowest 1 %", space = "AWS/SageMaker", metrics = ["ModelLatency"], statistic = "p99" },
    { title = "Machines, percent", space = "/aws/sagemaker/Endpoints", metrics = ["CPUUtilization", "MemoryUtilization", "DiskUtilization"], statistic = "Average" },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [
      for place, chart in local.charts : {
        type   = "metric"
        x      = place % 2 * 12
        y      = floor(place / 2) * 6
        width  = 12
        height = 6
        properties = {
          title  = chart.title
          region = var.region
          stat   = chart.statistic
          period = 300
          metrics = [
            for line in setproduct(chart.metrics, ["champion", "challenger"]) :
            [chart.space, line[0], "EndpointName", var.endpoint, "VariantName", line[1]]
          ]
        }
      }
    ]
  })
}
