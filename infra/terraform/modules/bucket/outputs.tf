output "name" {
  value = aws_s3_bucket.this.bucket
}

output "arn" {
  # Known before the bucket is there, so that policies show in the plan.
  value = "arn:aws:s3:::${var.name}"
}
