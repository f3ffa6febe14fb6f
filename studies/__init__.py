"""Studies: experiments that are more than a grid of runs, each one command with one YAML.

``python -m studies STUDY.yaml --out FOLDER`` runs the study that the file names.
"""
