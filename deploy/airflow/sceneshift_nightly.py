"""Airflow 3: submits a sceneshift job to a Ray cluster every night and waits for it.

Put this file into the DAG folder. The Airflow worker needs `sceneshift` on its PATH, and the Airflow variables
`sceneshift_job` (path of the job file) and `sceneshift_head` (http://HEAD:8265); on a cluster with tokens also
RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH in its environment. `sceneshift schedule --target airflow` writes a DAG that
runs a job on the Airflow worker itself instead.
"""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    dag_id="sceneshift_nightly",
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    tags=["sceneshift"],
):
    BashOperator(
        task_id="submit",
        # Values go through the environment, where the shell does not read them as code.
        bash_command='exec sceneshift submit "$JOB" --address "$HEAD" --wait --stop-on-exit',
        env={"JOB": "{{ var.value.sceneshift_job }}", "HEAD": "{{ var.value.sceneshift_head }}"},
        append_env=True,
        # A retry goes on from what is committed.
        retries=2,
        retry_delay=timedelta(minutes=5),
    )
