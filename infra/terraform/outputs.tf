output "bucket" {
  description = "For `dvc remote add -d s3 s3://BUCKET/dvc` and the pipelines' root."
  value       = aws_s3_bucket.data.bucket
}

output "images" {
  description = "Where to push the images."
  value       = { for name, repository in aws_ecr_repository.image : name => repository.repository_url }
}

output "role" {
  description = "For the service accounts' annotation eks.amazonaws.com/role-arn."
  value       = aws_iam_role.pods.arn
}
