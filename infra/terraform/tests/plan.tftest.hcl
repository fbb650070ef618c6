# `terraform test`, without an AWS account.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
}

variables {
  oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/ABC"
  oidc_issuer       = "oidc.example.com/id/ABC"
}

run "bucket_is_private_versioned_and_named_after_the_account" {
  command = plan
  assert {
    condition     = aws_s3_bucket.data.bucket == "codetr-123456789012"
    error_message = "bucket names are global: the account must be part of it"
  }
  assert {
    condition     = aws_s3_bucket_versioning.data.versioning_configuration[0].status == "Enabled"
    error_message = "a dataset that was overwritten could not be restored"
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.data.block_public_acls,
      aws_s3_bucket_public_access_block.data.block_public_policy,
      aws_s3_bucket_public_access_block.data.ignore_public_acls,
      aws_s3_bucket_public_access_block.data.restrict_public_buckets,
    ])
    error_message = "the bucket could be opened to the public"
  }
}

run "only_the_named_service_accounts_assume_the_role" {
  command = plan
  variables {
    service_accounts = ["team:trainer"]
  }
  assert {
    condition = anytrue([
      for condition in data.aws_iam_policy_document.assume.statement[0].condition :
      tolist(condition.values) == tolist(["system:serviceaccount:team:trainer"])
    ])
    error_message = "the role's trust names other service accounts"
  }
}

run "images_are_immutable" {
  command = plan
  assert {
    condition     = alltrue([for repository in aws_ecr_repository.image : repository.image_tag_mutability == "IMMUTABLE"])
    error_message = "a tag could be pushed over"
  }
}

run "a_name_no_bucket_can_have_is_refused" {
  command = plan
  variables {
    name = "Not_A_Bucket"
  }
  expect_failures = [var.name]
}
