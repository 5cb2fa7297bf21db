//! The cursor of the compiler: a field of the object, which knows its value and its path.

use std::{collections::BTreeMap, fmt, ops::Deref, sync::Arc};

use grapnel_api::Reason;
use grapnel_values::pointer::escaped;

use super::{Options, Problem, run::Compilation};

/// A field of the object, or a part of one. Problems that it reports are at its path.
pub(super) struct Field<'a, T: ?Sized> {
    run: &'a Compilation<'a>,
    /// JSON Pointer (RFC 6901) into the object.
    pointer: String,
    value: &'a T,
}

impl<'a> Field<'a, ()> {
    /// The object itself.
    pub(super) fn object(run: &'a Compilation<'a>) -> Self {
        Field { run, pointer: String::new(), value: &() }
    }
}

impl<T: ?Sized> Deref for Field<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value
    }
}

impl<'a, T: ?Sized> Field<'a, T> {
    /// The field `name` of this object, which has this value.
    pub(super) fn at<'b, U: ?Sized>(&self, name: &str, value: &'b U) -> Field<'b, U>
    where
        'a: 'b,
    {
        self.step(&escaped(name), value)
    }

    fn step<'b, U: ?Sized>(&self, token: &dyn fmt::Display, value: &'b U) -> Field<'b, U>
    where
        'a: 'b,
    {
        let pointer = format!("{}/{token}", self.pointer);
        #[cfg(test)]
        self.run.read.borrow_mut().insert(pointer.clone());
        Field { run: self.run, pointer, value }
    }

    /// The value, for as long as the object.
    pub(super) fn value(&self) -> &'a T {
        self.value
    }

    /// The run over the object.
    pub(super) fn run(&self) -> &'a Compilation<'a> {
        self.run
    }

    /// The namespace of the object.
    pub(super) fn namespace(&self) -> &'a Arc<str> {
        &self.run.key().namespace
    }

    /// The operator's options.
    pub(super) fn options(&self) -> &'a Options {
        self.run.options()
    }

    /// Adds a problem of this field.
    pub(super) fn problem(&self, reason: Reason, message: impl fmt::Display) {
        self.run.add(Problem::new(self.pointer.as_str(), reason, message.to_string()));
    }

    /// Adds a problem of the ConfigMap that this field names, which therefore has no compiled form.
    pub(super) fn fail_config_map<V>(&self, reason: Reason, message: impl fmt::Display) -> Option<V> {
        let problem = Problem::new(self.pointer.as_str(), reason, message.to_string());
        self.run.add(Problem { of_config_map: true, ..problem });
        None
    }

    /// Adds a problem of this field, which therefore has no compiled form.
    pub(super) fn fail<V>(&self, reason: Reason, message: impl fmt::Display) -> Option<V> {
        self.problem(reason, message);
        None
    }

    /// The parsed value; an error is a problem of the spec.
    pub(super) fn check<V, E: fmt::Display>(&self, parsed: Result<V, E>) -> Option<V> {
        parsed.map_or_else(|error| self.fail(Reason::InvalidSpec, error), Some)
    }
}

impl<'a, T> Field<'a, Option<T>> {
    /// The field, if it is set.
    pub(super) fn given(self) -> Option<Field<'a, T>> {
        let value = self.value.as_ref()?;
        Some(Field { run: self.run, pointer: self.pointer, value })
    }
}

impl<'a, T> Field<'a, Box<T>> {
    /// What is in the box.
    pub(super) fn unboxed(self) -> Field<'a, T> {
        Field { run: self.run, pointer: self.pointer, value: self.value }
    }
}

impl<'a, T> Field<'a, Vec<T>> {
    /// The items, each at its index.
    pub(super) fn items(self) -> impl Iterator<Item = Field<'a, T>> {
        self.value.iter().enumerate().map(move |(index, item)| self.step(&index, item))
    }
}

impl<'a, T> Field<'a, BTreeMap<String, T>> {
    /// The entries, each at its key.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'a str, Field<'a, T>)> {
        self.value.iter().map(move |(key, value)| (key.as_str(), self.at(key, value)))
    }
}
