"""Simulated bodies as tissue labels: trunk, organs, vessels, lesions."""
