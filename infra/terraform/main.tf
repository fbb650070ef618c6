# What codetr needs of AWS: buckets for datasets and artifacts, registries for the images, a cluster with GPU nodes and a
# file system that all of them mount, and roles with which pods reach the buckets without a key.

data "aws_caller_identity" "current" {}

locals {
  cluster = var.existing_cluster == null ? {
    oidc_provider_arn = module.cluster[0].oidc_provider_arn
    oidc_issuer       = module.cluster[0].oidc_issuer
  } : var.existing_cluster
}

module "network" {
  source       = "./modules/network"
  count        = var.existing_cluster == null ? 1 : 0
  name         = var.name
  nat_per_zone = var.nat_per_zone
}

module "cluster" {
  source             = "./modules/cluster"
  count              = var.existing_cluster == null ? 1 : 0
  name               = var.name
  kubernetes_version = var.kubernetes_version
  vpc                = module.network[0].vpc
  subnets            = module.network[0].private_subnets
  api_cidrs          = var.api_cidrs
  gpu                = var.gpu
  shared_storage     = var.shared_storage
}

module "shared" {
  source         = "./modules/shared"
  count          = var.existing_cluster == null ? 1 : 0
  name           = var.name
  kind           = var.shared_storage
  gib            = var.fsx_gib
  vpc            = module.network[0].vpc
  subnets        = module.network[0].private_subnets
  security_group = module.cluster[0].security_group
}

# DVC's remote, images and annotations; and what Kubeflow Pipelines keeps of its runs.
module "bucket" {
  source   = "./modules/bucket"
  for_each = toset(["data", "artifacts"])
  name     = "${var.name}-${each.key}-${data.aws_caller_identity.current.account_id}"
}

resource "aws_ecr_repository" "image" {
  for_each = toset(["codetr", "codetr-airflow"])
  name     = each.key
  # A tag that has been trained with never means another image later.
  image_tag_mutability = "IMMUTABLE"
  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecr_lifecycle_policy" "image" {
  for_each   = aws_ecr_repository.image
  repository = each.value.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "layers of builds that were never tagged"
      selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 14 }
      action       = { type = "expire" }
    }]
  })
}

data "aws_iam_policy_document" "buckets" {
  statement {
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = [for bucket in module.bucket : bucket.arn]
  }
  statement {
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = [for bucket in module.bucket : "${bucket.arn}/*"]
  }
}

data "aws_iam_policy_document" "secrets" {
  statement {
    actions   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
    resources = ["arn:aws:secretsmanager:${var.region}:${data.aws_caller_identity.current.account_id}:secret:${var.name}/*"]
  }
}

# Tasks of pipelines and training jobs.
module "tasks" {
  source            = "./modules/irsa"
  name              = "${var.name}-tasks"
  oidc_provider_arn = local.cluster.oidc_provider_arn
  oidc_issuer       = local.cluster.oidc_issuer
  service_accounts  = ["${var.namespace}:default-editor"]
  policy            = data.aws_iam_policy_document.buckets.json
}

# The External Secrets Operator, for infra/kubernetes/components/external-secrets.
module "secrets" {
  source            = "./modules/irsa"
  name              = "${var.name}-secrets"
  oidc_provider_arn = local.cluster.oidc_provider_arn
  oidc_issuer       = local.cluster.oidc_issuer
  service_accounts  = ["${var.namespace}:codetr-secrets"]
  policy            = data.aws_iam_policy_document.secrets.json
}
