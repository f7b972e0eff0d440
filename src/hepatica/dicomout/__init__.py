"""Findings in, DICOM objects out, each referring to the source images it was made from."""
