"""The stages of a run, one file each: plain functions `stage(inputs, project, workspace) -> record`.

`inputs` holds the records of the stages before it, by name. A stage reads and writes only through the workspace and the
places its records name, so it can run in any process that is given the same workspace. Stages never import each other;
pipeline.py tells their order.
"""
