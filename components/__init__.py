"""One Kubeflow Pipelines component for each step; thin, because the steps hold the logic."""
