# The file system of datasets, checkpoints and registry, which every node mounts.

resource "aws_security_group" "this" {
  name        = "${var.name}-shared"
  description = "The shared file system, from the nodes"
  vpc_id      = var.vpc
}

locals {
  # NFS; Lustre.
  ports = var.kind == "efs" ? { nfs = [2049, 2049] } : { lustre = [988, 988], replies = [1018, 1023] }
}

resource "aws_vpc_security_group_ingress_rule" "nodes" {
  for_each                     = local.ports
  security_group_id            = aws_security_group.this.id
  referenced_security_group_id = var.security_group
  ip_protocol                  = "tcp"
  from_port                    = each.value[0]
  to_port                      = each.value[1]
}

# The servers of Lustre talk to one another.
resource "aws_vpc_security_group_ingress_rule" "servers" {
  for_each                     = var.kind == "fsx" ? local.ports : {}
  security_group_id            = aws_security_group.this.id
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = each.value[0]
  to_port                      = each.value[1]
}

resource "aws_vpc_security_group_egress_rule" "servers" {
  for_each                     = var.kind == "fsx" ? local.ports : {}
  security_group_id            = aws_security_group.this.id
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = each.value[0]
  to_port                      = each.value[1]
}

resource "aws_efs_file_system" "this" {
  count           = var.kind == "efs" ? 1 : 0
  encrypted       = true
  throughput_mode = "elastic"
  lifecycle_policy {
    transition_to_ia = "AFTER_60_DAYS"
  }
  tags = { Name = var.name }
}

resource "aws_efs_mount_target" "this" {
  count           = var.kind == "efs" ? length(var.subnets) : 0
  file_system_id  = aws_efs_file_system.this[0].id
  subnet_id       = var.subnets[count.index]
  security_groups = [aws_security_group.this.id]
}

resource "aws_fsx_lustre_file_system" "this" {
  count                       = var.kind == "fsx" ? 1 : 0
  storage_capacity            = var.gib
  deployment_type             = "PERSISTENT_2"
  per_unit_storage_throughput = 250
  data_compression_type       = "LZ4"
  # The zone of the GPU nodes.
  subnet_ids         = [var.subnets[0]]
  security_group_ids = [aws_security_group.this.id]
  tags               = { Name = var.name }
}
