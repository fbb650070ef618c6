variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  default     = "codetr"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "name must be 2 to 31 lower-case letters, digits and hyphens, starting with a letter: it becomes part of a bucket's name."
  }
}

variable "region" {
  description = "AWS region."
  type        = string
  default     = "eu-central-1"
}

variable "oidc_provider_arn" {
  description = "The cluster's OIDC provider, through which its service accounts assume the role."
  type        = string
}

variable "oidc_issuer" {
  description = "The provider's issuer without https://."
  type        = string
}

variable "service_accounts" {
  description = "namespace:name of the service accounts whose pods read and write the bucket."
  type        = list(string)
  default     = ["codetr:default-editor"]

  validation {
    condition     = alltrue([for account in var.service_accounts : can(regex("^[a-z0-9-]+:[a-z0-9-]+$", account))])
    error_message = "Each service account is written namespace:name."
  }
}
