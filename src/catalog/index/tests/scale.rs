//! Thousands of endpoints and subscriptions: work stays linear. Work is counted, not timed.

use super::*;

const MANY: usize = 2_000;

fn endpoints() -> impl Iterator<Item = Change> {
    (0..MANY).map(|number| locked(&format!("ns-{}", number % 100), &format!("in-{number}"), &["s"]).endpoint())
}

fn subscriptions() -> impl Iterator<Item = Change> {
    (0..MANY).map(|number| {
        let namespace = format!("ns-{}", number % 100);
        subscriber(&namespace, &format!("out-{number}"), &format!("in-{number}")).subscription()
    })
}

fn secrets() -> impl Iterator<Item = Change> {
    (0..100).map(|number| secret(&format!("ns-{number}"), "s", "1"))
}

#[test]
fn each_object_is_compiled_once_however_it_comes() {
    let mut stage = Stage::fetching();
    // Subscriptions first, then their endpoints, then the references: the worst order.
    assert_eq!(stage.compiled_by(subscriptions().chain(endpoints()).chain(secrets())), 2 * MANY);
    assert_eq!(stage.published.snapshot.endpoints().count(), MANY);
    assert_eq!(stage.published.snapshot.subscriptions().count(), MANY);
    assert_eq!(stage.published.objects.len(), 2 * MANY);
    assert!(stage.published.objects.iter().all(|view| view.generation == Some(1)));

    assert_eq!(stage.compiled_by(subscriptions().chain(endpoints()).chain(secrets())), 0, "listed again");
    assert_eq!(stage.compiled_by([locked("ns-7", "in-7", &["s"]).generation(2).endpoint()]), 1);
    assert_eq!(stage.compiled_by([secret("ns-7", "s", "2")]), MANY / 100, "the endpoints that refer to it");
    assert_eq!(stage.compiled_by([Change::Gone(ObjectKind::Endpoint, key("ns-7", "in-7"))]), 1, "its one subscription");
}

#[test]
fn unchanged_objects_share_their_views() {
    const SOME: usize = 500;
    let mut stage = Stage::fetching();
    stage.tell(endpoints().take(SOME).chain(secrets()));
    let before = Arc::clone(&stage.published.objects);
    stage.tell([locked("ns-7", "in-7", &["s"]).generation(2).endpoint()]);
    let shared = before
        .iter()
        .zip(stage.published.objects.iter())
        .filter(|(before, after)| Arc::ptr_eq(&before.conditions, &after.conditions))
        .count();
    assert_eq!(shared, SOME - 1);
}

#[test]
fn a_crowd_at_one_path_costs_no_more_than_its_number() {
    let mut stage = Stage::new();
    // The youngest first, so that each new endpoint takes over the path.
    let crowd = (0..MANY).rev().map(|age| {
        let spec = json!({ "path": "in", "verification": { "none": {} } });
        Object::new("shop", &format!("in-{age}"), spec).age(age as u64).endpoint()
    });
    stage.apply(crowd);
    assert_eq!(stage.index.claims.moved().len(), MANY, "everyone is told once");
    assert_eq!(stage.compiled_by([]), MANY);
    assert_eq!(stage.serves("shop/in"), Some(key("shop", "in-0")));
    let last = key("shop", &format!("in-{}", MANY - 1));
    assert_eq!(stage.compiled_by([Change::Gone(ObjectKind::Endpoint, last)]), 0, "who does not own it is not missed");
}

#[test]
fn claimants_that_come_one_by_one_are_recompiled_only_for_a_new_owner() {
    let mut stage = Stage::new();
    for age in 0..100 {
        let spec = json!({ "path": "in", "verification": { "none": {} } });
        let object = Object::new("shop", &format!("in-{age}"), spec).age(age);
        assert_eq!(stage.compiled_by([object.endpoint()]), 1);
    }
}
