//! Objects of other classes.

use super::*;
use crate::catalog::Class;

fn stage(class: Class) -> Stage {
    let mut stage = Stage::new();
    stage.index.options.class = class;
    stage
}

fn of_class(object: Object, class: &str) -> Object {
    let mut object = object;
    object.spec["className"] = class.into();
    object
}

fn shown(stage: &Stage) -> Vec<&str> {
    stage.published.objects.iter().map(|view| &*view.key.name).collect()
}

#[test]
fn only_objects_of_the_class_are_served_and_shown() {
    let changes = || {
        [
            open("shop", "plain").endpoint(),
            of_class(open("shop", "web"), "web").endpoint(),
            of_class(subscriber("shop", "reader", "web"), "web").subscription(),
        ]
    };
    let mut none = stage(Class::Only(None));
    none.tell(changes());
    assert_eq!(shown(&none), ["plain"]);
    assert!(none.serves("shop/plain").is_some() && none.published.snapshot.route("shop/web").is_none());
    let mut web = stage(Class::Only(Some("web".into())));
    web.tell(changes());
    assert_eq!(shown(&web), ["web", "reader"]);
    assert_eq!(web.subscription(&key("shop", "reader")), Reason::Programmed);
    let mut any = stage(Class::Any);
    any.tell(changes());
    assert_eq!(shown(&any).len(), 3);
}

#[test]
fn a_subscription_does_not_read_an_endpoint_of_another_class() {
    for class in [Class::Any, Class::Only(None)] {
        let mut stage = stage(class);
        let letters = json!({
            "endpointRef": { "name": "plain" },
            "target": { "url": "https://receiver.example/" },
            "deadLetter": { "endpointRef": { "name": "web" } },
        });
        stage.tell([
            open("shop", "plain").endpoint(),
            of_class(open("shop", "web"), "web").endpoint(),
            subscriber("shop", "reader", "web").subscription(),
            Object::new("shop", "letters", letters).subscription(),
        ]);
        for name in ["reader", "letters"] {
            let (status, reason, message) = stage.ready(ObjectKind::Subscription, &key("shop", name));
            assert_eq!((status, reason), (ConditionStatus::False, Reason::ClassMismatch), "{name}");
            assert!(message.contains("WebhookEndpoint web") && message.contains("spec.className"), "{message}");
        }
        stage.tell([open("shop", "web").generation(2).endpoint()]);
        assert_eq!(stage.subscription(&key("shop", "reader")), Reason::Programmed, "it has its class now");
        stage.tell([of_class(open("shop", "web"), "web").generation(3).endpoint()]);
        assert_eq!(stage.subscription(&key("shop", "reader")), Reason::ClassMismatch);
        stage.tell([Change::Gone(ObjectKind::Endpoint, key("shop", "web"))]);
        assert_eq!(stage.subscription(&key("shop", "reader")), Reason::EndpointNotFound);
    }
}

#[test]
fn another_namespace_learns_nothing_of_an_endpoint_of_another_class() {
    let mut stage = stage(Class::Only(None));
    stage.tell([
        of_class(shared("shop", "orders", json!({ "from": "All" })), "web").endpoint(),
        subscriber("billing", "reader", "shop/orders").subscription(),
    ]);
    assert_eq!(stage.subscription(&key("billing", "reader")), Reason::NotAllowed);
}

#[test]
fn a_subscription_that_changes_hands_keeps_its_consumer_until_it_is_deleted() {
    let mut stage = stage(Class::Only(None));
    stage.tell([open("shop", "orders").endpoint(), subscriber("shop", "reader", "orders").subscription()]);
    assert!(stage.delivers(&key("shop", "reader")));
    let consumer = object("shop", "reader", "uid-1");
    assert!(stage.tell([of_class(subscriber("shop", "reader", "orders"), "web").generation(2).subscription()]));
    assert!(!stage.delivers(&key("shop", "reader")) && stage.published.snapshot.knows(&consumer));
    assert_eq!((shown(&stage), stage.index.elsewhere()), (vec!["orders"], 1));
    assert!(stage.tell([Change::Gone(ObjectKind::Subscription, key("shop", "reader"))]));
    assert!(!stage.published.snapshot.knows(&consumer));
    assert_eq!(stage.index.elsewhere(), 0);
    // Or it comes back.
    stage.tell([of_class(subscriber("shop", "reader", "orders"), "web").generation(2).subscription()]);
    stage.tell([subscriber("shop", "reader", "orders").generation(3).subscription()]);
    assert!(stage.delivers(&key("shop", "reader")));
}

#[test]
fn an_object_that_cannot_be_read_is_reported_by_the_operator_without_a_class() {
    let unreadable = || {
        Change::Unreadable(Unreadable {
            kind: ObjectKind::Endpoint,
            key: key("shop", "torn"),
            source: None,
            uid: Some("uid-1".into()),
            generation: Some(2),
            problems: vec![Problem::new("", Reason::InvalidSpec, "it cannot be read")],
        })
    };
    let (mut none, mut web) = (stage(Class::Only(None)), stage(Class::Only(Some("web".into()))));
    none.tell([unreadable()]);
    web.tell([unreadable()]);
    assert_eq!((shown(&none), shown(&web)), (vec!["torn"], vec![]));
    // One whose class is known stays where it is.
    let mut web = stage(Class::Only(Some("web".into())));
    web.tell([of_class(open("shop", "torn"), "web").endpoint(), unreadable()]);
    assert_eq!(web.endpoint(&key("shop", "torn")), Reason::InvalidSpec);
    let mut none = stage(Class::Only(None));
    none.tell([of_class(open("shop", "torn"), "web").endpoint(), unreadable()]);
    assert_eq!(shown(&none), Vec::<&str>::new());
}
