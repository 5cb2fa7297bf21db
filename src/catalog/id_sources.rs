//! The sources of the ids of an endpoint's events, and the words for them in responses.

use grapnel_event::identity::{IdOrigin, Source, Sources};
use http::HeaderValue;

/// The words for an id that the event itself states.
const EVENT: HeaderValue = HeaderValue::from_static("the event itself");
/// The words for an id that Grapnel generated.
const GENERATED: HeaderValue = HeaderValue::from_static("generated");

/// The sources of ids. What a response says of each is written once, not for each event.
#[derive(Debug, Clone)]
pub struct IdSources {
    sources: Sources,
    declared: Option<HeaderValue>,
    /// In the order of the default sources.
    defaults: Box<[Option<HeaderValue>]>,
}

impl IdSources {
    /// Writes the words for sources.
    pub fn new(sources: Sources) -> Self {
        let declared = sources.explicit.as_ref().and_then(words);
        let defaults = sources.defaults.iter().map(words).collect();
        Self { sources, declared, defaults }
    }

    /// The sources themselves.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Says in a header where an id comes from. `None` if a header cannot carry the name of the source.
    pub fn header(&self, origin: IdOrigin) -> Option<HeaderValue> {
        match origin {
            IdOrigin::Declared => self.declared.clone(),
            IdOrigin::Default(index) => self.defaults.get(index).cloned().flatten(),
            IdOrigin::Event => Some(EVENT),
            IdOrigin::Generated => Some(GENERATED),
        }
    }
}

/// The words for a source, as a header.
fn words(source: &Source) -> Option<HeaderValue> {
    HeaderValue::try_from(source.to_string()).ok()
}

#[cfg(test)]
mod tests {
    use grapnel_event::identity::{JsonPointer, id_defaults};
    use http::HeaderName;

    use super::*;

    #[test]
    fn each_origin_has_its_words() {
        let header = |name| Source::Header(HeaderName::from_static(name));
        let pointer = |text| Source::Pointer(JsonPointer::parse(text).unwrap());
        let ids = IdSources::new(Sources {
            explicit: Some(pointer("/id")),
            defaults: [header("webhook-id"), pointer("/a\nb")].into(),
            hidden: vec![],
        });
        for (origin, expected) in [
            (IdOrigin::Declared, Some("/id of the body")),
            (IdOrigin::Default(0), Some("header webhook-id")),
            (IdOrigin::Default(1), None),
            (IdOrigin::Event, Some("the event itself")),
            (IdOrigin::Generated, Some("generated")),
        ] {
            assert_eq!(ids.header(origin).as_ref().map(|value| value.to_str().unwrap()), expected, "{origin:?}");
        }
        let undeclared = IdSources::new(Sources { defaults: id_defaults(None), ..Sources::default() });
        assert_eq!(undeclared.header(IdOrigin::Declared), None);
    }

    /// The words of an event are a reference to those of its source.
    #[test]
    fn words_are_not_written_again() {
        let source = Source::Header(HeaderName::from_static("x-request-identifier"));
        let ids = IdSources::new(Sources { explicit: Some(source), ..Sources::default() });
        let address = || ids.header(IdOrigin::Declared).map(|value| value.as_bytes().as_ptr());
        assert!(address().is_some());
        assert_eq!(address(), address());
    }
}
