"""Does any method beat ERM, balancing and postprocessed ERM by more than the noise of its choice?

``python -m studies.field PLAN.yaml RESULTS ... --out FOLDER`` answers the questions of a plan from
finished grids, of the pilot and of the full study alike.
"""
