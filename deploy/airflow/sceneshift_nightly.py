"""Airflow 3.3: submits a sceneshift job to a Ray cluster every night and waits for it.

Put this file into the DAG folder. The Airflow worker needs `sceneshift` on its PATH, and the Airflow variables
`sceneshift_job` (path of the job file) and `sceneshift_head` (http://HEAD:8265); on a cluster with tokens also
RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH in its environment. `sceneshift schedule --target airflow` writes a DAG that
runs a job on the Airflow worker itself instead.
"""

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException


class SceneshiftOperator(BashOperator):
    """A command of sceneshift. Exit codes 1 (too many rejects) and 2 (wrong input) would come again: no retry."""

    def execute(self, context: Any) -> Any:
        try:
            return super().execute(context)
        except AirflowException as error:
            ended = self.subprocess_hook.sub_process
            if ended is not None and ended.returncode in (1, 2):
                raise AirflowFailException(str(error)) from error
            raise


with DAG(
    dag_id="sceneshift_nightly",
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    tags=["sceneshift"],
):
    SceneshiftOperator(
        task_id="submit",
        # Values go through the environment, where the shell does not read them as code.
        bash_command='exec sceneshift submit "$JOB" --address "$HEAD" --wait --stop-on-exit --if-busy follow',
        env={"JOB": "{{ var.value.sceneshift_job }}", "HEAD": "{{ var.value.sceneshift_head }}"},
        append_env=True,
        # After a lost cluster or worker (exit code 3) a retry goes on from what is committed; one after a lost Airflow
        # worker follows the job, which is still at work.
        retries=2,
        retry_delay=timedelta(minutes=5),
    )
