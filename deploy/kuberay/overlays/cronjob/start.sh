#!/bin/sh
# Creates the RayJob and waits until it has ended; its end is the exit status.
set -eu
job=$(kubectl create -f /etc/rayjob/rayjob.yaml -o name)
echo "$job: created"
while :; do
  deployment=$(kubectl get "$job" -o 'jsonpath={.status.jobDeploymentStatus}')
  case $deployment in Complete | Failed | ValidationFailed) break ;; esac
  sleep 15
done
state=$(kubectl get "$job" -o 'jsonpath={.status.jobStatus}')
echo "$job: $deployment, ${state:-not started}"
[ "$state" = SUCCEEDED ]
