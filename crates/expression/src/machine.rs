//! What evaluation costs: steps, which bound its time and memory, and the memory of searches.

use std::borrow::Cow;

use grapnel_values::limits::EXPRESSION_STEPS;
use regex_automata::meta::Cache;

use super::{
    pattern::{Caches, Pattern, PatternError, Refused, Use},
    value::BYTES_PER_STEP,
};

/// An error of an evaluation.
#[derive(Debug)]
pub(super) struct EvalError {
    /// The byte of the source at which it happened.
    pub(super) at: usize,
    /// The description. It contains no value of the event.
    pub(super) message: Cow<'static, str>,
    /// No steps are left. `&&`, `||` and macros do not absorb this error.
    pub(super) spent: bool,
}

impl EvalError {
    pub(super) fn new(at: usize, message: impl Into<Cow<'static, str>>) -> Self {
        Self { at, message: message.into(), spent: false }
    }
}

pub(super) type Result<T> = std::result::Result<T, EvalError>;

/// The steps and the searches of one evaluation.
pub(super) struct Machine<'a> {
    /// Steps left.
    steps: u64,
    /// Memory of searches with literal patterns.
    caches: Caches<'a>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(steps: u64) -> Self {
        Self { steps, caches: Caches::default() }
    }

    /// Steps left.
    pub(super) fn left(&self) -> u64 {
        self.steps
    }

    /// Charges steps.
    pub(super) fn pay(&mut self, steps: usize, at: usize) -> Result<()> {
        match self.steps.checked_sub(steps as u64) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => {
                self.steps = 0;
                let message = too_many_steps();
                Err(EvalError { at, message: message.into(), spent: true })
            }
        }
    }

    /// Charges for bytes that are read or copied.
    pub(super) fn pay_bytes(&mut self, bytes: usize, at: usize) -> Result<()> {
        self.pay(bytes / BYTES_PER_STEP, at)
    }

    /// `matches`: whether a pattern matches a part of the text.
    pub(super) fn matches(
        &mut self,
        at: usize,
        text: &str,
        source: &str,
        compiled: Option<&'a Pattern>,
    ) -> Result<bool> {
        self.search(at, source, compiled, text.len(), |pattern, cache| pattern.is_match(cache, text))
    }

    /// `find`: the first part of the text that a pattern matches. Its end is searched for, and then its start.
    pub(super) fn find<'t>(
        &mut self,
        at: usize,
        text: &'t str,
        source: &str,
        compiled: Option<&'a Pattern>,
    ) -> Result<Option<&'t str>> {
        self.search(at, source, compiled, 2 * text.len(), |pattern, cache| pattern.find(cache, text))
    }

    /// Searches so many bytes with a pattern, which is compiled first if it is not a literal.
    fn search<T>(
        &mut self,
        at: usize,
        source: &str,
        compiled: Option<&'a Pattern>,
        bytes: usize,
        search: impl FnOnce(&Pattern, &mut Cache) -> T,
    ) -> Result<T> {
        let Some(pattern) = compiled else {
            let pattern =
                Pattern::compile(source, Use::Once, |steps| self.pay(steps, at)).map_err(|refused| match refused {
                    Refused::Unpaid(error) => error,
                    // The reason would quote the event.
                    Refused::Pattern(PatternError::Syntax(_)) => EvalError::new(at, "the pattern is not RE2 syntax"),
                    Refused::Pattern(error @ PatternError::TooLarge) => EvalError::new(at, error.to_string()),
                })?;
            self.pay(pattern.cache_steps().saturating_add(pattern.steps(bytes)), at)?;
            return Ok(search(&pattern, &mut pattern.cache()));
        };
        if !self.caches.has(pattern) {
            self.pay(pattern.cache_steps(), at)?;
        }
        self.pay(pattern.steps(bytes), at)?;
        Ok(self.caches.with(pattern, |cache| search(pattern, cache)))
    }
}

/// The message if no steps are left.
pub(super) fn too_many_steps() -> String {
    format!("it exceeds {EXPRESSION_STEPS} steps for one event or batch")
}
