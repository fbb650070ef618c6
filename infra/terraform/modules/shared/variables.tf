variable "name" {
  type = string
}

variable "kind" {
  description = "efs or fsx."
  type        = string
}

variable "gib" {
  description = "Size of fsx."
  type        = number
}

variable "vpc" {
  type = string
}

variable "subnets" {
  type = list(string)
}

variable "security_group" {
  description = "Of the nodes."
  type        = string
}
