"""DICOM files to volumes: frames, series, time points, pixels, geometry."""
