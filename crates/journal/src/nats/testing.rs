//! What tests need that nobody else may have (feature `testing`).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::{
    NatsOptions,
    broker::{Broker, BrokerOptions},
    layout::Layout,
};

/// Removes the leases and the members of an installation, as if all its replicas had been dead for long.
pub async fn expire_leases(options: &NatsOptions) {
    let urls = options.servers.urls();
    let broker =
        Broker::connect(BrokerOptions { urls, name: "test".into(), ..BrokerOptions::default() }).await.unwrap();
    let layout = Layout::new(&options.name, options.shards);
    let stream = layout.meta_stream();
    for key in ["lease.>", "member.>"] {
        for row in broker.rows(&stream, &layout.row(key)).await.unwrap_or_default() {
            broker.delete(&stream, row.sequence).await.unwrap();
        }
    }
    broker.close().await;
}
