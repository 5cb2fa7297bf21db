//! Who an event is.

/// Id and type of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Event id.
    pub id: Box<str>,
    /// Event type.
    pub kind: Box<str>,
}
