//! A cgroup path to the pod and the container that it belongs to.
