# terraform apply -var-file=prod.tfvars: up to eight nodes of eight GPUs, connected by EFA, and a fast file system.
environment    = "prod"
name           = "codetr"
gpu            = { instance_type = "p4d.24xlarge", max_nodes = 8, efa_interfaces = 4, disk_gib = 1000 }
nat_per_zone   = true
shared_storage = "fsx"
fsx_gib        = 9600
