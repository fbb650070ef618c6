output "name" {
  value = aws_eks_cluster.this.name
}

output "security_group" {
  description = "Of all nodes."
  value       = local.security_group
}

output "oidc_provider_arn" {
  value = aws_iam_openid_connect_provider.this.arn
}

output "oidc_issuer" {
  description = "Without https://."
  value       = local.issuer
}
