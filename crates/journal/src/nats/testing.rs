//! What tests need that nobody else may have (feature `testing`).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::{
    NatsOptions,
    broker::{Broker, BrokerOptions},
    layout::Layout,
};

/// Removes the leases and the members of an installation, as if all its replicas had been dead for long.
pub async fn expire_leases(options: &NatsOptions) {
    let (broker, layout) = connect(options).await;
    let stream = layout.meta_stream();
    for key in ["lease.>", "member.>"] {
        for row in broker.rows(&stream, &layout.row(key)).await.unwrap_or_default() {
            broker.delete(&stream, row.sequence).await.unwrap();
        }
    }
    broker.close().await;
}

/// The keys of the rows of an installation that begin with `prefix`.
pub async fn rows(options: &NatsOptions, prefix: &str) -> Vec<String> {
    let (broker, layout) = connect(options).await;
    let rows = broker.rows(&layout.meta_stream(), &layout.row(&format!("{prefix}>"))).await.unwrap();
    broker.close().await;
    rows.iter().filter_map(|row| layout.key_of_row(&row.subject).map(str::to_owned)).collect()
}

async fn connect(options: &NatsOptions) -> (Broker, Layout) {
    let urls = options.servers.urls();
    let broker =
        Broker::connect(BrokerOptions { urls, name: "test".into(), ..BrokerOptions::default() }).await.unwrap();
    (broker, Layout::new(&options.name, options.shards))
}
