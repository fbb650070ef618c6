output "id" {
  value = var.kind == "efs" ? aws_efs_file_system.this[0].id : aws_fsx_lustre_file_system.this[0].id
}
