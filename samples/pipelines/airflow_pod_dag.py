"""Airflow 3 with Kubernetes: the same update by the image of the Containerfile, for which Airflow needs no batch.

Exit code 1 skips the task. Every other failure is retried, also those for which that is of no use (2, 4, 6): they send
nothing more, and fail again. `kubernetes.yaml` has a Job that tells them apart.
"""

from datetime import timedelta

import pendulum
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.sdk import dag
from kubernetes.client import models as k8s


@dag(
    schedule="15 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
)
def update_customers_in_a_pod() -> None:
    KubernetesPodOperator(
        task_id="update",
        image="batch:0.1.0",
        arguments=["update", "/data/customers.csv", "-e", "dualentry.customers", "--json", "--log-format", "json"],
        env_vars={"DUALENTRY_API_KEY_FILE": "/secrets/dualentry-api-key"},
        secrets=[Secret("volume", "/secrets", "batch")],
        volumes=[
            k8s.V1Volume(
                name="data",
                persistent_volume_claim=k8s.V1PersistentVolumeClaimVolumeSource(claim_name="batch-data"),
            ),
            k8s.V1Volume(name="tmp", empty_dir=k8s.V1EmptyDirVolumeSource()),
        ],
        volume_mounts=[
            k8s.V1VolumeMount(name="data", mount_path="/data"),
            k8s.V1VolumeMount(name="tmp", mount_path="/tmp"),
        ],
        security_context=k8s.V1PodSecurityContext(
            run_as_non_root=True, run_as_user=10001, run_as_group=10001, fs_group=10001
        ),
        container_security_context=k8s.V1SecurityContext(
            read_only_root_filesystem=True,
            allow_privilege_escalation=False,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
        ),
        container_resources=k8s.V1ResourceRequirements(requests={"memory": "512Mi", "cpu": "250m"}),
        termination_grace_period=40,
        skip_on_exit_code=1,
        retries=5,
        retry_delay=timedelta(minutes=10),
    )


update_customers_in_a_pod()
