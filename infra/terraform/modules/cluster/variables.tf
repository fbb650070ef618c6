variable "name" {
  type = string
}

variable "kubernetes_version" {
  type = string
}

variable "vpc" {
  type = string
}

variable "subnets" {
  type = list(string)
}

variable "api_cidrs" {
  type = list(string)
}

variable "gpu" {
  type = object({
    instance_type  = string
    max_nodes      = number
    capacity       = string
    efa_interfaces = number
    disk_gib       = number
  })
}

variable "shared_storage" {
  type = string
}
