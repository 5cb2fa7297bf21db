//! One run of the compiler over one object.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use grapnel_api::{ConditionType, ObjectKey};
use grapnel_values::secret::Secret;

use super::{Lookup, Options, Problem, Reference, ReferencedValues};

/// The result of compiling an object.
#[derive(Debug)]
pub struct Compiled<T> {
    /// The compiled object. `None` if a problem refuses it, or if the value of a reference is unknown.
    pub object: Option<T>,
    /// What is wrong with it; incomplete while the value of a reference is unknown.
    pub problems: Vec<Problem>,
    /// The Secrets and ConfigMaps that the compiler looked up, in order.
    pub references: Box<[Reference]>,
    /// The first of them whose value is unknown.
    pub awaits: Option<Reference>,
}

/// The context of every field of the object: where values come from, and what was found on the way.
pub(super) struct Compilation<'a> {
    key: &'a ObjectKey,
    options: &'a Options,
    /// `None` in a survey.
    sources: Option<&'a dyn ReferencedValues>,
    problems: RefCell<Vec<Problem>>,
    /// The references that were looked up, and whether their values are known.
    looked_up: RefCell<BTreeMap<Reference, bool>>,
    /// Every path that was read.
    #[cfg(test)]
    pub(super) read: RefCell<std::collections::BTreeSet<String>>,
}

impl<'a> Compilation<'a> {
    /// A run that takes values from `sources`.
    pub(super) fn new(key: &'a ObjectKey, options: &'a Options, sources: &'a dyn ReferencedValues) -> Self {
        Self { sources: Some(sources), ..Self::survey(key, options) }
    }

    /// A run that only finds out which references an object has: no value is known, and expressions and schemas, which
    /// are expensive to compile and have no references, are skipped.
    pub(super) fn survey(key: &'a ObjectKey, options: &'a Options) -> Self {
        Self {
            key,
            options,
            sources: None,
            problems: RefCell::default(),
            looked_up: RefCell::default(),
            #[cfg(test)]
            read: RefCell::default(),
        }
    }

    /// Whether expressions and schemas are skipped.
    pub(super) fn is_survey(&self) -> bool {
        self.sources.is_none()
    }

    /// The name of the object.
    pub(super) fn key(&self) -> &'a ObjectKey {
        self.key
    }

    /// The operator's options.
    pub(super) fn options(&self) -> &'a Options {
        self.options
    }

    /// Looks up a Secret of the object's own namespace.
    pub(super) fn secret(&self, name: &str) -> Lookup<'a, BTreeMap<String, Secret>> {
        let key = self.own(name);
        let found = self.sources.map_or(Lookup::Unknown, |sources| sources.secret(&key));
        self.note(Reference::Secret(key), !matches!(found, Lookup::Unknown));
        found
    }

    /// Looks up a ConfigMap of the object's own namespace.
    pub(super) fn config_map(&self, name: &str) -> Lookup<'a, BTreeMap<String, String>> {
        let key = self.own(name);
        let found = self.sources.map_or(Lookup::Unknown, |sources| sources.config_map(&key));
        self.note(Reference::ConfigMap(key), !matches!(found, Lookup::Unknown));
        found
    }

    fn own(&self, name: &str) -> ObjectKey {
        ObjectKey::new(Arc::clone(&self.key.namespace), name)
    }

    fn note(&self, reference: Reference, known: bool) {
        self.looked_up.borrow_mut().insert(reference, known);
    }

    /// Adds a problem once, even if several fields refer to the same missing Secret.
    pub(super) fn add(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    /// Whether a problem concerns the spec itself rather than its references.
    pub(super) fn refuses(&self) -> bool {
        self.problems.borrow().iter().any(|problem| problem.condition() == ConditionType::Accepted)
    }

    /// The references that were looked up.
    pub(super) fn into_references(self) -> Box<[Reference]> {
        self.looked_up.into_inner().into_keys().collect()
    }

    /// Ends the run with the object that it has compiled.
    pub(super) fn end<T>(self, object: Option<T>) -> Compiled<T> {
        let awaits = self.looked_up.borrow().iter().find(|(_, known)| !**known).map(|(reference, _)| reference.clone());
        Compiled {
            object: object.filter(|_| awaits.is_none()),
            awaits,
            problems: self.problems.take(),
            references: self.into_references(),
        }
    }
}
