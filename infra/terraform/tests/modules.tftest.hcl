# What each module makes, without an AWS account.
mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["a", "b", "c"] }
  }
  mock_resource "aws_eks_cluster" {
    defaults = {
      arn        = "arn:aws:eks:eu-central-1:123456789012:cluster/codetr"
      identity   = [{ oidc = [{ issuer = "https://oidc.example.com/id/ABC" }] }]
      vpc_config = { cluster_security_group_id = "sg-nodes" }
    }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/x" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/x" }
  }
  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/x" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", latest_version = 1 }
  }
}

run "a_bucket_is_private_versioned_encrypted_and_tls_only" {
  command = plan
  module {
    source = "./modules/bucket"
  }
  variables {
    name = "codetr-data-123456789012"
  }
  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "a dataset that was overwritten could not be restored"
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "the bucket could be opened to the public"
  }
  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms"
    error_message = "objects are not encrypted"
  }
  assert {
    condition = alltrue([
      for statement in jsondecode(aws_s3_bucket_policy.this.policy).Statement :
      statement.Effect == "Deny" && statement.Condition.Bool["aws:SecureTransport"] == "false"
    ])
    error_message = "requests without TLS are answered"
  }
}

run "only_the_named_service_accounts_assume_a_role" {
  command = plan
  module {
    source = "./modules/irsa"
  }
  variables {
    name              = "codetr-tasks"
    oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/ABC"
    oidc_issuer       = "oidc.example.com/id/ABC"
    service_accounts  = ["team:trainer"]
  }
  assert {
    condition = anytrue([
      for condition in data.aws_iam_policy_document.assume.statement[0].condition :
      tolist(condition.values) == tolist(["system:serviceaccount:team:trainer"])
    ])
    error_message = "the role's trust names other service accounts"
  }
}

run "a_wildcard_of_service_accounts_is_refused" {
  command = plan
  module {
    source = "./modules/irsa"
  }
  variables {
    name              = "codetr-tasks"
    oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/ABC"
    oidc_issuer       = "oidc.example.com/id/ABC"
    service_accounts  = ["team:*"]
  }
  expect_failures = [var.service_accounts]
}

run "gpu_nodes_with_efa_are_close_and_have_an_interface_for_each_card" {
  command = apply
  module {
    source = "./modules/cluster"
  }
  variables {
    name               = "codetr"
    kubernetes_version = "1.33"
    vpc                = "vpc-1"
    subnets            = ["subnet-a", "subnet-b"]
    api_cidrs          = []
    shared_storage     = "fsx"
    gpu                = { instance_type = "p4d.24xlarge", max_nodes = 8, capacity = "ON_DEMAND", efa_interfaces = 4, disk_gib = 1000 }
  }
  assert {
    condition     = [for one in aws_launch_template.gpu.network_interfaces : [one.network_card_index, one.device_index]] == [[0, 0], [1, 1], [2, 1], [3, 1]]
    error_message = "EFA needs one interface for each card, and the first one has the index 0"
  }
  assert {
    condition     = alltrue([for one in aws_launch_template.gpu.network_interfaces : contains(one.security_groups, "sg-nodes")])
    error_message = "nodes without the cluster's security group do not join it"
  }
  assert {
    condition     = aws_placement_group.gpu[0].strategy == "cluster" && length(aws_eks_node_group.gpu.subnet_ids) == 1
    error_message = "EFA works within one zone"
  }
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_public_access == false
    error_message = "the API is public although no network is listed"
  }
  assert {
    condition     = contains(keys(aws_eks_addon.driver), "aws-fsx-csi-driver") && !contains(keys(aws_eks_addon.driver), "aws-efs-csi-driver")
    error_message = "the driver is not that of the file system"
  }
}

run "gpu_nodes_without_efa_cost_nothing_while_idle_and_take_only_pods_that_ask" {
  command = plan
  module {
    source = "./modules/cluster"
  }
  variables {
    name               = "codetr"
    kubernetes_version = "1.33"
    vpc                = "vpc-1"
    subnets            = ["subnet-a", "subnet-b"]
    api_cidrs          = ["203.0.113.0/24"]
    shared_storage     = "efs"
    gpu                = { instance_type = "g6.2xlarge", max_nodes = 1, capacity = "SPOT", efa_interfaces = 0, disk_gib = 300 }
  }
  assert {
    condition     = aws_eks_node_group.gpu.scaling_config[0].min_size == 0
    error_message = "an idle GPU node stays"
  }
  assert {
    condition     = one(aws_eks_node_group.gpu.taint).key == "nvidia.com/gpu"
    error_message = "other pods land on GPU nodes"
  }
  assert {
    condition     = length(aws_placement_group.gpu) == 0
    error_message = "a placement group would keep a single spot node from starting"
  }
}

run "every_zone_has_a_gateway_if_asked" {
  command = plan
  module {
    source = "./modules/network"
  }
  variables {
    name         = "codetr"
    nat_per_zone = true
  }
  assert {
    condition     = length(aws_nat_gateway.this) == length(aws_subnet.private)
    error_message = "a zone depends on the gateway of another"
  }
}

run "the_file_system_is_encrypted_and_answers_nodes_only" {
  command = plan
  module {
    source = "./modules/shared"
  }
  variables {
    name           = "codetr"
    kind           = "efs"
    gib            = 1200
    vpc            = "vpc-1"
    subnets        = ["subnet-a", "subnet-b"]
    security_group = "sg-nodes"
  }
  assert {
    condition     = aws_efs_file_system.this[0].encrypted
    error_message = "datasets are not encrypted"
  }
  assert {
    condition     = keys(aws_vpc_security_group_ingress_rule.nodes) == ["nfs"] && aws_vpc_security_group_ingress_rule.nodes["nfs"].referenced_security_group_id == "sg-nodes"
    error_message = "others than the nodes reach the file system"
  }
  assert {
    condition     = length(aws_efs_mount_target.this) == 2
    error_message = "a zone has no mount target"
  }
}
