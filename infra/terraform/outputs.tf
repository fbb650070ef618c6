output "buckets" {
  description = "data: for `dvc remote add -d s3 s3://BUCKET/dvc`; artifacts: for the root of Kubeflow Pipelines."
  value       = { for name, bucket in module.bucket : name => bucket.name }
}

output "images" {
  description = "Where to push the images."
  value       = { for name, repository in aws_ecr_repository.image : name => repository.repository_url }
}

output "roles" {
  description = "For the annotation eks.amazonaws.com/role-arn of the service accounts default-editor and codetr-secrets."
  value       = { tasks = module.tasks.arn, secrets = module.secrets.arn }
}

output "cluster" {
  description = "For `aws eks update-kubeconfig --name CLUSTER`; null where the cluster existed."
  value       = one(module.cluster[*].name)
}

output "file_system" {
  description = "For the storage class of the shared volume; null where the cluster existed."
  value       = one(module.shared[*].id)
}
