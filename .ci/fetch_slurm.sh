#!/bin/bash
# Unpack Debian's Slurm into a folder, without installing it: for `make test-cluster` with CODETR_SLURM=FOLDER.
set -euo pipefail
folder=$(realpath -m "${1:?usage: .ci/fetch_slurm.sh FOLDER}")
mkdir -p "$folder/packages"
cd "$folder/packages"
apt-get download slurmctld slurmd slurm-client slurm-wlm-basic-plugins libhwloc15 libmunge2 libnuma1
for package in *.deb; do dpkg -x "$package" "$folder"; done
