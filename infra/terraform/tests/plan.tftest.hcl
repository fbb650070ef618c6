# `terraform test`, without an AWS account.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
}

variables {
  environment = "test"
}

run "an_existing_cluster_gets_buckets_registries_and_roles_only" {
  command = plan
  variables {
    existing_cluster = {
      oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/ABC"
      oidc_issuer       = "oidc.example.com/id/ABC"
    }
  }
  assert {
    condition     = length(module.cluster) + length(module.network) + length(module.shared) == 0
    error_message = "a second cluster would be created"
  }
  assert {
    condition     = output.buckets.data == "codetr-data-123456789012"
    error_message = "bucket names are global: the account must be part of it"
  }
  assert {
    condition     = alltrue([for repository in aws_ecr_repository.image : repository.image_tag_mutability == "IMMUTABLE"])
    error_message = "a tag could be pushed over"
  }
  assert {
    condition     = output.cluster == null && output.file_system == null
    error_message = "there is no such cluster"
  }
}

run "a_name_no_bucket_can_have_is_refused" {
  command = plan
  variables {
    name = "Not_A_Bucket"
  }
  expect_failures = [var.name]
}

run "the_api_is_not_opened_to_everyone" {
  command = plan
  variables {
    api_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.api_cidrs]
}

run "a_size_that_lustre_does_not_have_is_refused" {
  command = plan
  variables {
    shared_storage = "fsx"
    fsx_gib        = 3000
  }
  expect_failures = [var.fsx_gib]
}
