//! Selects the objects that this operator serves by their class.

use std::sync::Arc;

/// The class of the objects that are served, as `--class` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Class {
    /// Objects of every class: what is checked offline.
    #[default]
    Any,
    /// Objects with this `spec.className`; `None` means objects without one.
    Only(Option<Arc<str>>),
}

impl Class {
    /// Whether an object with this class is served.
    pub fn serves(&self, name: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::Only(served) => served.as_deref() == name,
        }
    }

    /// The class that an operator serves; `None` for the one without a class.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Any => None,
            Self::Only(served) => served.as_deref(),
        }
    }

    /// Whether an object is served whose class is not known, because it cannot be read. An operator with a class leaves
    /// it to the one without, so that one of them reports it.
    pub fn serves_unknown(&self) -> bool {
        !matches!(self, Self::Only(Some(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_exactly_one_operator() {
        let (none, web) = (Class::Only(None), Class::Only(Some("web".into())));
        for (name, by_none, by_web) in [(None, true, false), (Some("web"), false, true), (Some("other"), false, false)]
        {
            assert_eq!((none.serves(name), web.serves(name)), (by_none, by_web), "{name:?}");
            assert!(Class::Any.serves(name));
        }
        assert!(none.serves_unknown() && !web.serves_unknown() && Class::Any.serves_unknown());
    }
}
