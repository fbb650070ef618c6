variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  default     = "codetr"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "name must be 2 to 31 lower-case letters, digits and hyphens, starting with a letter: it becomes part of a bucket's name."
  }
}

variable "environment" {
  description = "A tag of every resource, for the bill."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
  default     = "eu-central-1"
}

variable "existing_cluster" {
  description = "The OIDC provider of a cluster that exists, and its issuer without https://. Null creates a network, an EKS cluster and the shared file system."
  type        = object({ oidc_provider_arn = string, oidc_issuer = string })
  default     = null
}

variable "namespace" {
  description = "Namespace of the pipelines' tasks, in which the roles' service accounts are."
  type        = string
  default     = "codetr"
}

variable "kubernetes_version" {
  description = "Of the cluster; Kubeflow Trainer v2 needs 1.27 or later."
  type        = string
  default     = "1.33"
}

variable "api_cidrs" {
  description = "Networks that may reach the cluster's API from outside; empty: only the cluster's network does."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.api_cidrs : can(cidrhost(cidr, 0)) && cidr != "0.0.0.0/0"])
    error_message = "api_cidrs must be networks such as 203.0.113.0/24; not 0.0.0.0/0, which is everyone."
  }
}

variable "gpu" {
  description = "GPU nodes: the instance type, how many at most, ON_DEMAND or SPOT, and how many EFA interfaces each has (0: none)."
  type = object({
    instance_type  = string
    max_nodes      = number
    capacity       = optional(string, "ON_DEMAND")
    efa_interfaces = optional(number, 0)
    disk_gib       = optional(number, 300)
  })
  default = { instance_type = "g6.2xlarge", max_nodes = 1 }

  validation {
    condition     = contains(["ON_DEMAND", "SPOT"], var.gpu.capacity)
    error_message = "gpu.capacity must be ON_DEMAND or SPOT."
  }
  validation {
    condition     = var.gpu.efa_interfaces >= 0 && var.gpu.efa_interfaces <= 32
    error_message = "gpu.efa_interfaces must be from 0 to 32 (p4d has 4, p5 has 32)."
  }
}

variable "nat_per_zone" {
  description = "A NAT gateway in every zone: the loss of one zone does not cut off the others. One is cheaper."
  type        = bool
  default     = false
}

variable "shared_storage" {
  description = "The volume that all nodes mount: efs grows by itself; fsx (Lustre) is faster, and has fsx_gib."
  type        = string
  default     = "efs"

  validation {
    condition     = contains(["efs", "fsx"], var.shared_storage)
    error_message = "shared_storage must be efs or fsx."
  }
}

variable "fsx_gib" {
  description = "Size of the Lustre file system: 1200, or a multiple of 2400."
  type        = number
  default     = 1200

  validation {
    condition     = var.fsx_gib == 1200 || (var.fsx_gib > 0 && var.fsx_gib % 2400 == 0)
    error_message = "fsx_gib must be 1200, or a multiple of 2400."
  }
}
