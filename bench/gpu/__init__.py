"""The check of the GPU path: scripts/gpu_check.sh calls check.py."""
