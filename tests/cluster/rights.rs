//! An operator that lacks a right says which, does without it what it can, and goes on when it gets it.

use std::path::PathBuf;

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api,
    api::PostParams,
    config::{AuthInfo, Kubeconfig},
};

use crate::{
    fixture::{Cluster, Operator, condition},
    program::{Grapnel, receiver::Receiver},
    shop,
};

/// The rights that it needs in its namespace: resource and verbs.
const RIGHTS: &[(&str, &str, &str)] = &[
    ("grapnel.dev", "webhookendpoints", "list, watch"),
    ("grapnel.dev", "webhooksubscriptions", "list, watch, patch"),
    ("grapnel.dev", "webhookreplays", "list, watch, delete"),
    ("grapnel.dev", "webhookendpoints/status", "patch"),
    ("grapnel.dev", "webhooksubscriptions/status", "patch"),
    ("grapnel.dev", "webhookreplays/status", "patch"),
    ("", "secrets", "get, list, watch"),
    ("", "configmaps", "get, list, watch"),
    ("events.k8s.io", "events", "create, patch"),
    ("coordination.k8s.io", "leases", "get, create, update"),
];

/// Gives the operator's ServiceAccount all rights but those on this resource.
async fn grant_all_but(cluster: &Cluster, missing: &str) {
    grant_in(cluster, &cluster.namespace, missing).await;
}

/// The same in another namespace than that of the ServiceAccount.
async fn grant_in(cluster: &Cluster, account: &str, missing: &str) {
    let rules = RIGHTS.iter().map(|(group, resource, verbs)| {
        let verbs = match (*resource == missing, *resource) {
            (true, "secrets" | "webhooksubscriptions") => "list, watch",
            (true, _) => return String::new(),
            (false, _) => verbs,
        };
        format!("- {{ apiGroups: ['{group}'], resources: [{resource}], verbs: [{verbs}] }}\n")
    });
    let rules: String = rules.collect();
    cluster
        .apply(&format!(
            "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: operator }}
rules:
{rules}---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: operator }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: operator }}
subjects: [{{ kind: ServiceAccount, name: operator, namespace: {account} }}]
"
        ))
        .await;
}

/// The operator as a ServiceAccount with all rights in its namespace but those on one resource. It never has the right to
/// list namespaces.
struct Limited {
    _directory: tempfile::TempDir,
    operator: Operator,
}

async fn without(cluster: &Cluster, missing: &str) -> Limited {
    cluster.apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: operator }\n").await;
    grant_all_but(cluster, missing).await;
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let kubeconfig = kubeconfig(cluster, directory.path().join("kubeconfig")).await;
    let namespace = &cluster.namespace;
    let operator = Operator::new(&kubeconfig).with(["--watch-namespaces", namespace, "--lease-namespace", namespace]);
    Limited { _directory: directory, operator: operator.with(["--lease-duration", "3s"]) }
}

async fn kubeconfig(cluster: &Cluster, file: PathBuf) -> PathBuf {
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
    let token = accounts.create_token_request("operator", &PostParams::default(), &request).await.unwrap();
    let token = token.status.unwrap().token;
    let mut kubeconfig = Kubeconfig::read_from(&cluster.kubeconfig).unwrap();
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(AuthInfo { token: Some(token.clone().into()), ..AuthInfo::default() });
    }
    std::fs::write(&file, serde_yaml::to_string(&kubeconfig).unwrap()).unwrap();
    file
}

async fn outcomes(grapnel: &Grapnel, outcome: &str) -> f64 {
    let (_, text) = grapnel.admin("/metrics").await;
    let series = format!(r#"grapnel_status_writes_total{{outcome="{outcome}"}}"#);
    text.lines().find_map(|line| line.strip_prefix(&series)?.trim().parse().ok()).unwrap_or_default()
}

fn lines(grapnel: &Grapnel, text: &str) -> usize {
    grapnel.log().lines().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn without_namespaces_selectors_match_nothing_and_the_rest_works() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let limited = without(&cluster, "nothing").await;
    let grapnel = limited.operator.start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "first").await.0, 200);
    assert_eq!(receiver.next().await.header("webhook-id"), "first");
    let (status, text) = grapnel.admin("/readyz?verbose").await;
    assert_eq!(status, 200);
    assert!(text.contains("cannot list namespaces") && text.contains("namespaceSelectors"), "{text}");
    assert!(text.contains("[+] configuration: ok") && text.contains("written by this replica"), "{text}");
    assert_eq!(grapnel.admin("/readyz").await.1, "ok\n");
    assert_eq!(lines(&grapnel, "cannot list namespaces"), 1, "once: {}", grapnel.log());
    assert!(lines(&grapnel, "403") >= 1);

    // Objects that go, in any order, are no reason for a warning.
    let warnings = lines(&grapnel, "WARN");
    cluster.delete("WebhookEndpoint", "orders").await;
    cluster.delete("WebhookSubscription", "fulfilment").await;
    cluster.delete("Secret", "shop").await;
    grapnel
        .eventually("the end of the endpoint", async || {
            (shop::order(&grapnel, &cluster, "orders", "late").await.0 == 404).then_some(())
        })
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(lines(&grapnel, "WARN"), warnings, "{}", grapnel.log());
}

#[tokio::test]
async fn without_the_right_to_write_statuses_it_tries_seldom_and_says_why() {
    const OBJECTS: usize = 60;
    let cluster = Cluster::new().await;
    let limited = without(&cluster, "webhookendpoints/status").await;
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    for number in 0..OBJECTS {
        cluster.apply(&shop::endpoint(&format!("e-{number}"))).await;
    }
    let grapnel = limited.operator.start().await;
    grapnel.eventually("the first refusals", async || (outcomes(&grapnel, "failed").await >= 3.0).then_some(())).await;
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let failed = outcomes(&grapnel, "failed").await;
    assert!(failed <= 25.0, "{failed} tries in ten seconds for {OBJECTS} objects");
    let (_, text) = grapnel.admin("/readyz?verbose").await;
    assert!(text.contains("cannot patch webhookendpoints/status: ") && text.contains("403"), "{text}");
    assert_eq!(lines(&grapnel, "cannot patch webhookendpoints/status"), 1, "{}", grapnel.log());
    assert!(lines(&grapnel, "statuses were not written") <= 1, "{}", grapnel.log());

    grant_all_but(&cluster, "nothing").await;
    for number in 0..OBJECTS {
        cluster.until_ready("WebhookEndpoint", &format!("e-{number}")).await;
    }
    let (_, text) = grapnel.admin("/readyz?verbose").await;
    assert!(!text.contains("cannot patch"), "{text}");
}

#[tokio::test]
async fn namespaces_without_the_right_to_write_statuses_delay_no_others() {
    const NAMESPACES: usize = 6;
    const OBJECTS: usize = 4;
    let cluster = Cluster::new().await;
    let Limited { _directory, mut operator } = without(&cluster, "nothing").await;
    let (mut fine, mut refused) = (Vec::new(), Vec::new());
    for number in 0..NAMESPACES * 2 {
        let (list, missing) =
            if number % 2 == 0 { (&mut fine, "nothing") } else { (&mut refused, "webhookendpoints/status") };
        let namespace = cluster.another(&[]).await;
        grant_in(&namespace, &cluster.namespace, missing).await;
        namespace.apply(&shop::secret(shop::ORDERS)).await;
        for object in 0..OBJECTS {
            namespace.apply(&shop::endpoint(&format!("e-{object}"))).await;
        }
        operator = operator.with(["--watch-namespaces", &namespace.namespace]);
        list.push(namespace);
    }
    let grapnel = operator.start().await;
    for namespace in &fine {
        for object in 0..OBJECTS {
            namespace.until_ready("WebhookEndpoint", &format!("e-{object}")).await;
        }
    }
    let each_is_refused = async || (outcomes(&grapnel, "failed").await >= NAMESPACES as f64).then_some(());
    grapnel.eventually("a refusal in each namespace", each_is_refused).await;
    // What is new in a namespace whose statuses are written is written, and the refused ones are tried seldom.
    let before = outcomes(&grapnel, "failed").await;
    let since = std::time::Instant::now();
    for namespace in &fine {
        namespace.apply(&shop::endpoint("late")).await;
        namespace.until_ready("WebhookEndpoint", "late").await;
    }
    // The proof of an absence takes time.
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let failed = outcomes(&grapnel, "failed").await;
    // As many as the schedule allows in its first minute, for each minute.
    let minutes = since.elapsed().as_secs() / 60 + 1;
    assert!(failed - before <= (30 * minutes) as f64, "{} tries in {minutes} minutes", failed - before);
    assert!(before <= (NAMESPACES * 4) as f64, "{before} tries at first");

    for namespace in &refused {
        grant_in(namespace, &cluster.namespace, "nothing").await;
    }
    for namespace in &refused {
        for object in 0..OBJECTS {
            namespace.until_ready("WebhookEndpoint", &format!("e-{object}")).await;
        }
    }
    let (_, text) = grapnel.admin("/readyz?verbose").await;
    assert!(!text.contains("cannot patch"), "{text}");
}

#[tokio::test]
async fn without_the_right_to_write_finalizers_it_tries_seldom_and_says_why() {
    const OBJECTS: usize = 30;
    let cluster = Cluster::new().await;
    let limited = without(&cluster, "webhooksubscriptions").await;
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    cluster.apply(&shop::endpoint("orders")).await;
    for number in 0..OBJECTS {
        let subscription = shop::subscription(&format!("s-{number}"), "orders", "http://127.0.0.1:9");
        cluster.apply(&(subscription + "  deletionPolicy: Drain\n")).await;
    }
    let grapnel = limited.operator.start().await;
    let line = "finalizers were not written";
    grapnel.eventually("the log", async || (lines(&grapnel, line) > 0).then_some(())).await;
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let log = grapnel.log();
    let failures = log.lines().find(|it| it.contains(line)).unwrap();
    let count = failures.split_once("failures=").unwrap().1.split(' ').next().unwrap();
    assert!(count.parse::<usize>().unwrap() <= 5, "{failures}");
    assert_eq!(lines(&grapnel, line), 1, "{log}");
    assert_eq!(lines(&grapnel, "cannot patch webhooksubscriptions;"), 1, "{log}");
    let (_, text) = grapnel.admin("/readyz?verbose").await;
    assert!(text.contains("cannot patch webhooksubscriptions; deletionPolicy Drain does not work"), "{text}");

    grant_all_but(&cluster, "nothing").await;
    for number in 0..OBJECTS {
        let held = |object: &serde_json::Value| object["metadata"]["finalizers"][0] == "grapnel.dev/drain";
        cluster.until("WebhookSubscription", &format!("s-{number}"), "the finalizer", held).await;
    }
    let (_, text) = grapnel.admin("/readyz?verbose").await;
    assert!(!text.contains("cannot patch"), "{text}");
}

#[tokio::test]
async fn without_secrets_it_is_not_ready_and_says_which_right_is_missing() {
    let cluster = Cluster::new().await;
    let limited = without(&cluster, "secrets").await;
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    cluster.apply(&shop::endpoint("orders")).await;
    let grapnel = limited.operator.launch();
    let text = grapnel
        .eventually("what is missing", async || {
            let (status, text) = grapnel.admin("/readyz").await;
            (status == 503 && text.contains("cannot get secrets")).then_some(text)
        })
        .await;
    assert!(text.contains(&format!("in namespace {}", cluster.namespace)) && text.contains("403"), "{text}");
    assert!(!text.contains("shop"), "the names of Secrets are only in the log: {text}");
    let object = cluster
        .until("WebhookEndpoint", "orders", "that it waits", |object| condition(object, "Ready").0 == "Unknown")
        .await;
    assert_eq!(condition(&object, "Reconciling").0, "True");
    grant_all_but(&cluster, "nothing").await;
    cluster.until_ready("WebhookEndpoint", "orders").await;
    grapnel.eventually("readiness", async || (grapnel.admin("/readyz").await.0 == 200).then_some(())).await;
}

#[tokio::test]
async fn a_secret_that_nothing_refers_to_any_more_delays_no_start() {
    let cluster = Cluster::new().await;
    let limited = without(&cluster, "secrets").await;
    cluster.apply(&shop::endpoint("orders")).await;
    let grapnel = limited.operator.launch();
    grapnel
        .eventually("what is missing", async || {
            grapnel.admin("/readyz").await.1.contains("cannot get secrets").then_some(())
        })
        .await;
    cluster.delete("WebhookEndpoint", "orders").await;
    grapnel.eventually("readiness", async || (grapnel.admin("/readyz").await.0 == 200).then_some(())).await;
    let (_, text) = grapnel.admin("/readyz?verbose").await;
    assert!(!text.contains("cannot get secrets"), "{text}");
}

#[tokio::test]
async fn without_the_lease_it_serves_and_says_that_it_writes_no_status() {
    let cluster = Cluster::new().await;
    let limited = without(&cluster, "leases").await;
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    cluster.apply(&shop::endpoint("orders")).await;
    let grapnel = limited.operator.start().await;
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "first").await.0, 200);
    grapnel
        .eventually("the metric", async || (grapnel.metric("grapnel_lease_failing").await == 1.0).then_some(()))
        .await;
    let (status, text) = grapnel.admin("/readyz?verbose").await;
    assert_eq!(status, 200);
    assert!(text.contains("this replica writes no status") && text.contains("403"), "{text}");
    assert_eq!(grapnel.metric("grapnel_leader").await, 0.0);
    grant_all_but(&cluster, "nothing").await;
    cluster.until_ready("WebhookEndpoint", "orders").await;
    assert_eq!(grapnel.metric("grapnel_lease_failing").await, 0.0);
    assert_eq!(lines(&grapnel, "the Lease cannot be read or renewed"), 1, "{}", grapnel.log());
}
