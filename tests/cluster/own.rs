//! Tests with a control plane of their own.

use crate::fixture::{Cluster, ControlPlane};

#[tokio::test]
async fn a_control_plane_can_be_stopped_and_keeps_its_objects() {
    let mut plane = ControlPlane::start().await;
    let cluster = Cluster::at(&plane.kubeconfig()).await;
    cluster.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: kept }\ndata: { key: value }\n").await;
    plane.stop().await;
    plane.start_again().await;
    assert_eq!(cluster.get("ConfigMap", "kept").await["data"]["key"], "value");
}
