"""Readers: files and tables in, integer codes out; `crowdlearn.io` is their door."""
