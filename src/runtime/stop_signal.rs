//! The signal to stop, and the time until the process follows it.

use std::time::Duration;

use grapnel_values::duration;
use tokio::{
    signal::unix::{SignalKind, signal},
    time,
};

use crate::admin::Health;

/// A future that resolves `delay` after SIGTERM or SIGINT, and at once at the second signal. During the delay everything
/// works, but the process is not ready: load balancers learn that it ends before it refuses connections.
pub(super) fn stop_signal(delay: Duration, health: Health) -> anyhow::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    Ok(async move {
        let name = next().await;
        if !delay.is_zero() {
            let delay_text = duration::format(delay);
            health.part("shutdown").not_ready("shutting down");
            tracing::info!(signal = name, delay = %delay_text, "not ready; shutting down after the delay");
            tokio::select! {
                () = time::sleep(delay) => {}
                _ = next() => {}
            }
        }
        name
    })
}
