//! The next step towards the HTTPRoute that an endpoint wants.

use super::manifest::{ObservedRoute, RouteFields};

/// What is known about the HTTPRoute of a name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Presence<'a> {
    /// The watch, which shows the operator's routes only, has none of this name.
    NotWatched,
    /// The API server has none of this name.
    Absent,
    /// There is one.
    Exists(&'a ObservedRoute),
}

/// What an endpoint wants.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wish<'a> {
    /// No HTTPRoute.
    Nothing,
    /// This one.
    Route(&'a RouteFields),
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: everything is as it should be.
    Done,
    /// Read the route of this name: the watch would not show one of somebody else.
    Read,
    /// Create it.
    Create,
    /// Update the operator's route with this uid.
    Update(String),
    /// Delete the operator's route with this uid.
    Delete(String),
    /// Nothing: the route belongs to somebody else.
    Conflict,
}

/// The next step for the endpoint with this uid.
pub(super) fn step(endpoint: &str, wish: Wish<'_>, presence: Presence<'_>) -> Step {
    match (wish, presence) {
        (Wish::Nothing, Presence::Exists(route)) if route.owner.as_deref() == Some(endpoint) => {
            Step::Delete(route.uid.clone())
        }
        (Wish::Nothing, _) => Step::Done,
        (Wish::Route(_), Presence::NotWatched) => Step::Read,
        (Wish::Route(_), Presence::Absent) => Step::Create,
        (Wish::Route(fields), Presence::Exists(route)) => match &route.owner {
            None => Step::Conflict,
            Some(owner) if owner != endpoint => {
                // Of a deleted endpoint of this name. The garbage collector would delete it, but perhaps much later.
                Step::Delete(route.uid.clone())
            }
            Some(_) if route.is(fields) => Step::Done,
            Some(_) => Step::Update(route.uid.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use grapnel_api::ObjectKey;
    use serde_json::json;

    use super::*;

    fn fields(host: &str) -> RouteFields {
        let route = serde_json::from_value(json!({ "parentRefs": [{ "name": "public" }], "hostnames": [host] }));
        let service = "grapnel-system/grapnel:80".parse().unwrap();
        RouteFields::of(&ObjectKey::new("shop", "orders"), &route.unwrap(), "/shop/orders", &service)
    }

    fn owned(owner: &str) -> ObservedRoute {
        let mut object = fields("a.example").patch(&ObjectKey::new("shop", "orders"), owner, Some("route-1"));
        if owner.is_empty() {
            object["metadata"]["ownerReferences"] = json!([]);
        }
        ObservedRoute::read(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_route_is_read_before_it_is_created() {
        let wanted = fields("a.example");
        assert_eq!(step("uid-1", Wish::Route(&wanted), Presence::NotWatched), Step::Read);
        assert_eq!(step("uid-1", Wish::Route(&wanted), Presence::Absent), Step::Create);
        assert_eq!(step("uid-1", Wish::Route(&wanted), Presence::Exists(&owned("uid-1"))), Step::Done);
        let other = fields("b.example");
        let update = Step::Update("route-1".into());
        assert_eq!(step("uid-1", Wish::Route(&other), Presence::Exists(&owned("uid-1"))), update);
    }

    #[test]
    fn a_route_of_somebody_else_is_never_touched() {
        let foreign = owned("");
        assert_eq!(step("uid-1", Wish::Route(&fields("a.example")), Presence::Exists(&foreign)), Step::Conflict);
        assert_eq!(step("uid-1", Wish::Nothing, Presence::Exists(&foreign)), Step::Done);
    }

    #[test]
    fn a_route_goes_when_it_is_not_wanted_or_its_endpoint_is_another_one() {
        let delete = Step::Delete("route-1".into());
        assert_eq!(step("uid-1", Wish::Nothing, Presence::Exists(&owned("uid-1"))), delete);
        assert_eq!(step("uid-2", Wish::Route(&fields("a.example")), Presence::Exists(&owned("uid-1"))), delete);
        assert_eq!(step("uid-2", Wish::Nothing, Presence::Exists(&owned("uid-1"))), Step::Done, "garbage collection");
        assert_eq!(step("uid-1", Wish::Nothing, Presence::NotWatched), Step::Done);
    }
}
