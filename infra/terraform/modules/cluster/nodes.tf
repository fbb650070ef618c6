# Nodes: a few small ones for the operators, and GPU nodes, which are there only while something runs on them (with the
# Cluster Autoscaler or Karpenter).

data "aws_iam_policy_document" "nodes" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "nodes" {
  name               = "${var.name}-nodes"
  assume_role_policy = data.aws_iam_policy_document.nodes.json
}

resource "aws_iam_role_policy_attachment" "nodes" {
  for_each   = toset(["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly"])
  role       = aws_iam_role.nodes.name
  policy_arn = "arn:aws:iam::aws:policy/${each.key}"
}

resource "aws_eks_node_group" "system" {
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "system"
  node_role_arn   = aws_iam_role.nodes.arn
  subnet_ids      = var.subnets
  ami_type        = "AL2023_x86_64_STANDARD"
  instance_types  = ["m7i.xlarge"]
  scaling_config {
    min_size     = 2
    desired_size = 2
    max_size     = 6
  }
  update_config {
    max_unavailable = 1
  }
  labels     = { "codetr.dev/pool" = "system" }
  depends_on = [aws_iam_role_policy_attachment.nodes]
}

# EFA's traffic is allowed by a rule for all protocols within one security group, both ways.
resource "aws_security_group" "efa" {
  count       = local.efa ? 1 : 0
  name        = "${var.name}-efa"
  description = "EFA between GPU nodes"
  vpc_id      = var.vpc
}

resource "aws_vpc_security_group_ingress_rule" "efa" {
  count                        = local.efa ? 1 : 0
  security_group_id            = aws_security_group.efa[0].id
  referenced_security_group_id = aws_security_group.efa[0].id
  ip_protocol                  = "-1"
}

resource "aws_vpc_security_group_egress_rule" "efa" {
  count                        = local.efa ? 1 : 0
  security_group_id            = aws_security_group.efa[0].id
  referenced_security_group_id = aws_security_group.efa[0].id
  ip_protocol                  = "-1"
}

# Close to one another, for latency.
resource "aws_placement_group" "gpu" {
  count    = local.efa ? 1 : 0
  name     = "${var.name}-gpu"
  strategy = "cluster"
}

locals {
  efa            = var.gpu.efa_interfaces > 0
  security_group = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

resource "aws_launch_template" "gpu" {
  name_prefix = "${var.name}-gpu-"
  # Pods reach AWS by their roles, never by the node's.
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_size = var.gpu.disk_gib
      volume_type = "gp3"
      encrypted   = true
    }
  }
  dynamic "placement" {
    for_each = aws_placement_group.gpu
    content {
      group_name = placement.value.name
    }
  }
  # One interface for each network card; the first one also carries IP.
  dynamic "network_interfaces" {
    for_each = range(var.gpu.efa_interfaces)
    content {
      network_card_index    = network_interfaces.value
      device_index          = network_interfaces.value == 0 ? 0 : 1
      interface_type        = "efa"
      delete_on_termination = true
      security_groups       = [local.security_group, aws_security_group.efa[0].id]
    }
  }
  tag_specifications {
    resource_type = "instance"
    tags          = { Name = "${var.name}-gpu" }
  }
}

resource "aws_eks_node_group" "gpu" {
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "gpu"
  node_role_arn   = aws_iam_role.nodes.arn
  # One zone: nodes of a job talk to one another, and to the shared file system, within it.
  subnet_ids     = [var.subnets[0]]
  ami_type       = "AL2023_x86_64_NVIDIA"
  instance_types = [var.gpu.instance_type]
  capacity_type  = var.gpu.capacity
  launch_template {
    id      = aws_launch_template.gpu.id
    version = aws_launch_template.gpu.latest_version
  }
  scaling_config {
    min_size     = 0
    desired_size = 0
    max_size     = var.gpu.max_nodes
  }
  # The label and the taint of Kueue's flavour (infra/kubernetes/components/kueue).
  labels = { "codetr.dev/pool" = "gpu" }
  taint {
    key    = "nvidia.com/gpu"
    value  = "present"
    effect = "NO_SCHEDULE"
  }
  lifecycle {
    ignore_changes = [scaling_config[0].desired_size] # the autoscaler's
  }
  depends_on = [aws_iam_role_policy_attachment.nodes]
}
