# terraform apply -var-file=dev.tfvars: one small GPU node, which is there only while something runs on it.
environment = "dev"
name        = "codetr-dev"
gpu         = { instance_type = "g6.2xlarge", max_nodes = 1, capacity = "SPOT" }
