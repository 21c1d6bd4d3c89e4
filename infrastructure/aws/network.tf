# A network without a way to the internet: jobs and endpoints reach AWS through endpoints.tf, and nothing else.
resource "aws_vpc" "this" {
  cidr_block           = var.network
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

# AWS makes a group with every VPC; without rules it lets nothing through. CloudFormation cannot say this.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_subnet" "private" {
  count                   = 2
  vpc_id                  = aws_vpc.this.id
  cidr_block              = cidrsubnet(var.network, 4, count.index)
  availability_zone       = data.aws_availability_zones.here.names[count.index]
  map_public_ip_on_launch = false
  tags                    = { Name = "${var.name}-private-${count.index + 1}" }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-private" }
}

resource "aws_route_table_association" "private" {
  count          = 2
  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private.id
}

resource "aws_security_group" "jobs" {
  name        = "${var.name}-jobs"
  description = "Stages and endpoints"
  vpc_id      = aws_vpc.this.id
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "Where AWS services are reached"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_ingress_rule" "endpoints_from_jobs" {
  security_group_id            = aws_security_group.endpoints.id
  description                  = "Jobs call AWS"
  referenced_security_group_id = aws_security_group.jobs.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_ingress_rule" "jobs_from_jobs" {
  security_group_id            = aws_security_group.jobs.id
  description                  = "Training on several machines"
  referenced_security_group_id = aws_security_group.jobs.id
  ip_protocol                  = "-1"
}

resource "aws_vpc_security_group_egress_rule" "jobs_to_jobs" {
  security_group_id            = aws_security_group.jobs.id
  description                  = "Training on several machines"
  referenced_security_group_id = aws_security_group.jobs.id
  ip_protocol                  = "-1"
}

# Also a tracking server in this network, behind TLS.
resource "aws_vpc_security_group_egress_rule" "jobs_to_network" {
  security_group_id = aws_security_group.jobs.id
  description       = "AWS, through this network's endpoints"
  cidr_ipv4         = var.network
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# The list is AWS's own, of S3's addresses in the region.
resource "aws_vpc_security_group_egress_rule" "jobs_to_s3" {
  security_group_id = aws_security_group.jobs.id
  description       = "S3, through its gateway"
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
