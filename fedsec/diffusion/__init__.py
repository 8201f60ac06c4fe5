"""Diffusion models of images: schedules, objectives, samplers, training, and fewer steps.

Images are in [0, 1] outside ("pixels") and in [-1, 1] inside ("model space"). Steps are numbered
from 0, the least noise, to T - 1, the most.
"""
