//! The sources of an endpoint that declares none.

use std::{collections::BTreeMap, sync::Arc};

use grapnel_signature::{Provider, RequestField};
use grapnel_values::pointer::JsonPointer;
use parking_lot::Mutex;

use super::source::Source;

/// Returns the default sources of the type: the provider's locations, then the CloudEvents header (HTTP protocol
/// binding 1.0, 3.1.3), then `/type` of the body.
pub fn kind_defaults(provider: Option<&Provider>) -> Arc<[Source]> {
    static SHARED: Shared = Mutex::new(BTreeMap::new());
    let generic = [RequestField::Header("ce-type"), RequestField::Pointer("/type")];
    shared(&SHARED, provider, || sources(provider.map(|provider| provider.kinds), &generic))
}

/// Returns the default sources of the id: the provider's locations, then the headers of CloudEvents and of Standard
/// Webhooks. The body's `/id` is not among them: it is often the id of a resource, which has several events.
pub fn id_defaults(provider: Option<&Provider>) -> Arc<[Source]> {
    static SHARED: Shared = Mutex::new(BTreeMap::new());
    let generic = [RequestField::Header("ce-id"), RequestField::Header("webhook-id")];
    shared(&SHARED, provider, || sources(provider.map(|provider| provider.ids), &generic))
}

/// Defaults by provider name, shared because thousands of endpoints have the same.
type Shared = Mutex<BTreeMap<&'static str, Arc<[Source]>>>;

fn shared(shared: &Shared, provider: Option<&Provider>, make: impl FnOnce() -> Vec<Source>) -> Arc<[Source]> {
    let name = provider.map_or("", |provider| provider.name.as_str());
    Arc::clone(shared.lock().entry(name).or_insert_with(|| make().into()))
}

/// Converts a location of the provider table to a source; `None` only if the table had an invalid header name.
fn source(place: &RequestField) -> Option<Source> {
    match place {
        RequestField::Header(name) => name.parse().ok().map(Source::Header),
        RequestField::Pointer(pointer) => JsonPointer::parse(pointer).ok().map(Source::Pointer),
    }
}

fn sources(provider: Option<&[RequestField]>, generic: &[RequestField]) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for source in provider.unwrap_or_default().iter().chain(generic).filter_map(source) {
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use grapnel_signature as signature;

    use super::*;

    #[test]
    fn every_location_of_the_table_is_a_source() {
        for provider in signature::PROVIDERS {
            for place in provider.kinds.iter().chain(provider.ids) {
                assert!(source(place).is_some(), "{}: {place:?}", provider.name);
            }
        }
    }
}
