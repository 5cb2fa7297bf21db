//! What a replica of several reports.

use std::sync::{Arc, Mutex};

use grapnel::admin::{Access, AdminOptions};
use grapnel_journal::{Journal, JournalError, Start, Tenure};
use grapnel_test_support::journal_front::{Front, Fronted};
use reqwest::StatusCode;
use tokio::sync::watch;

use super::{Server, arrival, billing, now, orders, start_before};

/// One replica's view of a journal.
struct Replica {
    journal: Arc<dyn Journal>,
    trouble: Mutex<Option<JournalError>>,
    tenure: watch::Sender<Tenure>,
}

impl Front for Replica {
    fn journal(&self) -> &dyn Journal {
        &*self.journal
    }
    fn tenure(&self) -> watch::Receiver<Tenure> {
        self.tenure.subscribe()
    }
    fn is_shared(&self) -> bool {
        true
    }
    fn trouble(&self) -> Option<JournalError> {
        self.trouble.lock().unwrap().as_ref().map(JournalError::clone_for_caller)
    }
}

impl Replica {
    async fn start(trouble: Option<JournalError>) -> (Server, Arc<Self>) {
        let mut replica = None;
        let options = AdminOptions { access: Access::LoopbackOnly, guarded_metrics: false };
        let server = start_before(options, |journal| {
            let (trouble, tenure) = (Mutex::new(trouble), watch::Sender::new(Tenure::all()));
            let front = replica.insert(Arc::new(Self { journal, trouble, tenure }));
            Arc::new(Fronted(Arc::clone(front)))
        })
        .await;
        (server, replica.unwrap())
    }

    fn fails(&self, trouble: Option<JournalError>) {
        *self.trouble.lock().unwrap() = trouble;
    }
}

fn cut_off() -> Option<JournalError> {
    Some(JournalError::Unavailable("no broker".to_owned()))
}

#[tokio::test]
async fn a_replica_that_was_ready_stays_so_when_all_of_them_lose_the_store() {
    let (server, replica) = Replica::start(cut_off()).await;
    let readyz = async |path: &str| {
        let response = server.get(path).await;
        (response.status(), response.text().await.unwrap())
    };
    let line = "journal: the journal is unavailable: no broker\n";
    assert_eq!(readyz("/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, line.to_owned()), "it never was ready");
    replica.fails(None);
    assert_eq!(readyz("/readyz").await.0, StatusCode::OK);
    replica.fails(cut_off());
    assert_eq!(readyz("/readyz").await, (StatusCode::OK, "ok\n".to_owned()));
    let (status, verbose) = readyz("/readyz?verbose").await;
    assert_eq!((status, verbose.contains(&format!("[!] {line}"))), (StatusCode::OK, true), "{verbose}");
    assert_eq!(readyz("/healthz").await.0, StatusCode::OK);
    let metrics = server.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("grapnel_journal_up 0"), "{metrics}");
    // It explains why another part is not ready.
    let part = server.health.part("configuration");
    assert_eq!(readyz("/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, format!("configuration: starting\n{line}")));
    part.ready();
    // Damage is this replica's alone.
    replica.fails(Some(JournalError::Damaged("a record".to_owned())));
    assert_eq!(readyz("/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    server.end().await;
}

#[tokio::test]
async fn only_the_replica_that_delivers_counts_deliveries() {
    let (server, replica) = Replica::start(None).await;
    server.journal.attach(&billing(), &orders(), Start::Now).await.unwrap();
    server.append(vec![arrival("evt_1", "t", now(), None, b"{}")]).await;
    let pending = async || {
        let metrics = server.get("/metrics").await.text().await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with("webhook_deliveries_pending{")).map(str::to_owned);
        line.unwrap_or_default()
    };
    assert!(pending().await.ends_with(" 1"), "{}", pending().await);
    replica.tenure.send_replace(Tenure::of(|_| None));
    assert!(pending().await.ends_with(" 0"), "{}", pending().await);
    server.end().await;
}
