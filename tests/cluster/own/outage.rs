//! The API server ends, stays away, and comes back.

use crate::{
    fixture::{Cluster, ControlPlane, Load},
    program::receiver::Receiver,
    shop,
};

#[tokio::test]
async fn the_data_plane_serves_on_without_an_api_server_and_statuses_catch_up() {
    let receiver = Receiver::start().await;
    let mut plane = ControlPlane::start().await;
    let cluster = Cluster::at(&plane.kubeconfig()).await;
    let operator = cluster.operator().with(["--lease-duration", "3s"]);
    let grapnel = operator.start().await;
    shop::open(&cluster, &receiver.url).await;
    cluster.apply(&shop::endpoint("doomed")).await;
    shop::ready(&cluster).await;
    cluster.until_ready("WebhookEndpoint", "doomed").await;
    let path = format!("/{}/orders", cluster.namespace);

    let load = Load::start(&grapnel, &path, shop::ORDERS, "outage");
    load.more(50).await;
    plane.stop().await;
    let leads = async || grapnel.metric("grapnel_leader").await == 1.0;
    grapnel.eventually("loss of leadership", async || (!leads().await).then_some(())).await;
    load.more(50).await;
    assert_eq!(grapnel.admin("/readyz").await.0, 200, "it can serve, so it is ready");
    assert_eq!(grapnel.admin("/healthz").await.0, 200, "a restart would mend nothing");

    plane.start_again().await;
    load.more(50).await;
    let sent = load.end().await;
    assert!(sent.refused.is_empty() && sent.unanswered == 0, "{:?}", sent.refused);
    let total = sent.accepted.len();
    cluster
        .until("WebhookEndpoint", "orders", &format!("all {total} in the count"), |object| {
            object["status"]["received"] == total
        })
        .await;
    cluster
        .until("WebhookSubscription", "fulfilment", &format!("all {total} delivered"), |object| {
            object["status"]["delivered"] == total && object["status"]["pending"] == 0
        })
        .await;

    // It watches again: what is applied, changed and deleted now is seen.
    cluster.apply(&shop::secret("another-secret-altogether")).await;
    cluster.apply(&shop::endpoint("later")).await;
    cluster.delete("WebhookEndpoint", "doomed").await;
    cluster.until_ready("WebhookEndpoint", "later").await;
    grapnel
        .eventually("the new secret", async || {
            let answer = shop::order_signed(&grapnel, &cluster, "orders", "new", "another-secret-altogether").await;
            (answer.0 == 200).then_some(())
        })
        .await;
    grapnel
        .eventually("the end of the deleted one", async || {
            (shop::order(&grapnel, &cluster, "doomed", "x").await.0 == 404).then_some(())
        })
        .await;
}

#[tokio::test]
async fn what_changed_while_the_watches_were_cut_is_found_by_listing_again() {
    let mut plane = ControlPlane::start().await;
    let cluster = Cluster::at(&plane.kubeconfig()).await;
    let operator = cluster.operator().with(["--lease-duration", "3s"]);
    let grapnel = operator.start().await;
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    for name in ["kept", "doomed"] {
        cluster.apply(&shop::endpoint(name)).await;
        cluster.until_ready("WebhookEndpoint", name).await;
    }
    plane.stop().await;
    // The operator sleeps while the cluster changes, and its watches are older than the API server's memory.
    grapnel.send_signal("STOP");
    plane.start_again().await;
    cluster.delete("WebhookEndpoint", "doomed").await;
    cluster.apply(&shop::endpoint("fresh")).await;
    cluster.apply(&(shop::endpoint("kept") + "  response: { status: 202 }\n")).await;
    plane.stop().await;
    plane.start_again().await;
    grapnel.send_signal("CONT");
    cluster.until_ready("WebhookEndpoint", "fresh").await;
    cluster.until_ready("WebhookEndpoint", "kept").await;
    assert_eq!(shop::order(&grapnel, &cluster, "kept", "x").await.0, 202);
    grapnel
        .eventually("the end of the deleted one", async || {
            (shop::order(&grapnel, &cluster, "doomed", "x").await.0 == 404).then_some(())
        })
        .await;
}
