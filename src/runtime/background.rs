//! A tokio runtime whose threads yield the CPU to the rest of the process.
//!
//! Senders wait for ingest; deliveries have no waiting client. On one shared runtime the workers of many subscriptions
//! crowd out the requests, because a scheduler that is fair to tasks gives hundreds of them nearly all of the time.
//! Deliveries therefore have their own threads with a lower priority: the kernel prefers the other threads while they
//! have work, and gives deliveries the whole machine while they have none.
//!
//! A thread inherits the priority of the thread that spawns it. Nothing on this runtime may therefore spawn a thread
//! for another part of the process, for example through its `Handle::spawn_blocking`.

use std::io;

use rustix::process::{getpriority_process, setpriority_process};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{dispatch::limits::DELIVERY_BLOCKING_THREADS, runtime::limits};

/// The lowest priority (setpriority(2)).
const LOWEST: i32 = 19;

/// A runtime with low priority. Dropping it cancels its tasks without waiting for blocked threads.
pub(super) struct Background(Option<Runtime>);

impl Background {
    /// Starts the threads of a runtime.
    ///
    /// # Errors
    /// Returns an error if the system allows no more threads.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        // Not relative to the spawning thread, which usually belongs to this runtime.
        let priority = getpriority_process(None)?.saturating_add(limits::DELIVERY_NICE).min(LOWEST);
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .thread_name(name)
            .max_blocking_threads(DELIVERY_BLOCKING_THREADS)
            .on_thread_start(move || {
                // Linux keeps a priority per thread, and this call means the calling one; elsewhere it means the
                // process.
                if cfg!(target_os = "linux")
                    && let Err(error) = setpriority_process(None, priority)
                {
                    tracing::debug!(%error, "the priority of a thread cannot be lowered");
                }
            })
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// The handle for spawning tasks on this runtime.
    pub(super) fn handle(&self) -> Option<&Handle> {
        self.0.as_ref().map(Runtime::handle)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A plain drop would wait for blocked threads, and panics within another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_its_own_threads_have_a_lower_priority() {
        let own = getpriority_process(None).unwrap();
        let background = Background::start("low").unwrap();
        let handle = background.handle().unwrap();
        let task = handle.spawn(async {
            let blocking = tokio::task::spawn_blocking(|| getpriority_process(None).unwrap());
            (getpriority_process(None).unwrap(), blocking.await.unwrap())
        });
        let lower = (own + limits::DELIVERY_NICE).min(LOWEST);
        assert_eq!(task.await.unwrap(), (lower, lower));
        assert_eq!(getpriority_process(None).unwrap(), own);
    }
}
