"""The Kubeflow pipelines of this project, and the command that compiles, runs and submits them."""
