"""What the rules in workflow/ compute, typed and tested.

checking   a config held against its schema, the zoo and itself
chosen     what a config says of sample sets, inversions and edits
recipes    what every artefact follows from, and which are stale
rules      inputs and parameters of rules, as functions of their wildcards
asked      what the user typed, and what is made for it besides
cleaning   stores that go with their manifests
schemas    the part of the config's schema that follows from settings
results    results opened in a notebook
"""
