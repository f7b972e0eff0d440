"""Measures of masks, detections, types and curves."""
