"""Checks by kubectl and terraform run where these programs are; everything else here needs Python only."""

import os
import shutil

collect_ignore = []
if shutil.which("kubectl") is None:
    collect_ignore.append("test_kustomize.py")
# Terraform fetches its providers; TF_PLUGIN_DIR names a folder that holds them already.
if shutil.which("terraform") is None or "TF_PLUGIN_DIR" not in os.environ:
    collect_ignore.append("test_terraform.py")
