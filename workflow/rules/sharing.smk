"""A dictionary to share: one folder with checksums, origins and licences.

INPUTS   the dictionary with its pages and figures, evidence, best buddies; images; maps, moments and
         correlations of the generator
OUTPUTS  results/bundles/{sample_set}/, of which bundle.json is one file
"""


rule bundle_folder:
    """What others need of a dictionary, to read it and to join it."""
    input:
        RULES.parts_of_bundle,
    output:
        "results/bundles/{sample_set}/bundle.json",
    log:
        "logs/bundle_folder/{sample_set}.log",
    benchmark:
        "benchmarks/bundle_folder/{sample_set}.tsv"
    params:
        artefacts=lambda w, input: braced(RULES.artefacts_of_bundle(w, input)),
        settings=RULES.bundle_settings,
        zoo=config["zoo"],
        identity=identity("bundle"),
    shell:
        r"""
        python -m rosetta_steps.bundle --artefacts {params.artefacts} \
            --settings {params.settings:q} --zoo {params.zoo:q} \
            --identity {params.identity} --output {output:q} 2>&1 | tee {log:q}
        """


rule bundle:
    """The bundle of the default sample set."""
    input:
        RULES.bundle(),
    localrule: True
