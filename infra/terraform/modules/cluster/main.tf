# An EKS cluster whose secrets are encrypted and whose API answers listed networks only, and the provider through which
# its service accounts assume roles.

data "aws_iam_policy_document" "cluster" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["eks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "cluster" {
  name               = "${var.name}-cluster"
  assume_role_policy = data.aws_iam_policy_document.cluster.json
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
}

resource "aws_kms_key" "secrets" {
  description             = "Secrets of the cluster ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
}

resource "aws_eks_cluster" "this" {
  name                      = var.name
  version                   = var.kubernetes_version
  role_arn                  = aws_iam_role.cluster.arn
  enabled_cluster_log_types = ["api", "audit", "authenticator"]
  access_config {
    authentication_mode = "API"
  }
  vpc_config {
    subnet_ids              = var.subnets
    endpoint_private_access = true
    endpoint_public_access  = length(var.api_cidrs) > 0
    public_access_cidrs     = length(var.api_cidrs) > 0 ? var.api_cidrs : null
  }
  encryption_config {
    resources = ["secrets"]
    provider {
      key_arn = aws_kms_key.secrets.arn
    }
  }
  depends_on = [aws_iam_role_policy_attachment.cluster]
}

resource "aws_iam_openid_connect_provider" "this" {
  url            = aws_eks_cluster.this.identity[0].oidc[0].issuer
  client_id_list = ["sts.amazonaws.com"]
}

locals {
  issuer = trimprefix(aws_eks_cluster.this.identity[0].oidc[0].issuer, "https://")
  # Drivers of volumes, with the policy that AWS has for each, and their service accounts.
  drivers = {
    aws-ebs-csi-driver = { policy = "AmazonEBSCSIDriverPolicy", account = "ebs-csi-controller-sa" }
    aws-efs-csi-driver = { policy = "AmazonEFSCSIDriverPolicy", account = "efs-csi-controller-sa" }
    aws-fsx-csi-driver = { policy = "AmazonFSxFullAccess", account = "fsx-csi-controller-sa" }
  }
  used_drivers = { for name, driver in local.drivers : name => driver if contains(["aws-ebs-csi-driver", "aws-${var.shared_storage}-csi-driver"], name) }
}

module "driver_role" {
  source            = "../irsa"
  for_each          = local.used_drivers
  name              = "${var.name}-${each.key}"
  oidc_provider_arn = aws_iam_openid_connect_provider.this.arn
  oidc_issuer       = local.issuer
  service_accounts  = ["kube-system:${each.value.account}"]
  managed_policies = [
    each.key == "aws-fsx-csi-driver" ? "arn:aws:iam::aws:policy/${each.value.policy}" : "arn:aws:iam::aws:policy/service-role/${each.value.policy}",
  ]
}

resource "aws_eks_addon" "driver" {
  for_each                 = local.used_drivers
  cluster_name             = aws_eks_cluster.this.name
  addon_name               = each.key
  service_account_role_arn = module.driver_role[each.key].arn
  depends_on               = [aws_eks_node_group.system]
}

resource "aws_eks_addon" "network" {
  cluster_name = aws_eks_cluster.this.name
  addon_name   = "vpc-cni"
  # So that infra/kubernetes/components/network-policies has an effect.
  configuration_values = jsonencode({ enableNetworkPolicy = "true" })
}
