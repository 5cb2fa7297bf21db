//! Replays from files on a journal that several machines share: none of them runs, because each machine has the same
//! files and would deliver the events again.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::catalog::{ObjectKind, ObjectViews};

/// Warns once, as soon as a file has a replay.
pub(super) async fn refuse(mut objects: watch::Receiver<ObjectViews>, shutdown: CancellationToken) {
    let has_replays = |views: &ObjectViews| views.iter().any(|view| view.kind == ObjectKind::Replay);
    let appears = async {
        match objects.wait_for(has_replays).await {
            Ok(_) => tracing::warn!("replays from files need the embedded journal; none of them runs"),
            Err(_closed) => {}
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = appears => {}
    }
}
