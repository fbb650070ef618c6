variable "name" {
  type = string
}

variable "cidr" {
  type    = string
  default = "10.40.0.0/16"
}

variable "zones" {
  description = "EKS needs two."
  type        = number
  default     = 2
}

variable "nat_per_zone" {
  type = bool
}
