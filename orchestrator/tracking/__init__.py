"""The journal carried into MLflow, and where a sweep came from (git, versions, data). Nothing here is a second truth.

`mirror`, a process of its own, copies; `runs` says what becomes of what; `store` opens MLflow; `models` are the
finalists as logged models; `lineage` needs neither MLflow nor DVC. MLflow is imported where it is used: two seconds.
"""
