variable "name" {
  type = string
}

variable "oidc_provider_arn" {
  type = string
}

variable "oidc_issuer" {
  description = "Without https://."
  type        = string
}

variable "service_accounts" {
  description = "namespace:name of each."
  type        = list(string)

  validation {
    condition     = alltrue([for account in var.service_accounts : can(regex("^[a-z0-9-]+:[a-z0-9-]+$", account))])
    error_message = "Each service account is written namespace:name, without wildcards."
  }
}

variable "policy" {
  description = "As JSON; null for none."
  type        = string
  default     = null
}

variable "managed_policies" {
  description = "ARNs of policies of AWS."
  type        = set(string)
  default     = []
}
