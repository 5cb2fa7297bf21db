//! Fields that hold one value: durations, numbers, names, expressions.

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use grapnel_api::{Factor, GoDuration, Reason};
use grapnel_delivery::egress::ForbiddenUrl;
use grapnel_expression::{ExpectedType, Expression, Scope};
use grapnel_values::{duration, glob::Glob};
use http::HeaderName;
use url::Url;

use super::field::Field;

impl Field<'_, Option<GoDuration>> {
    /// The duration, or its default. Zero is a problem, since each of these durations is a bound.
    pub(super) fn duration(&self, default: Duration) -> Option<Duration> {
        let Some(text) = self.value() else { return Some(default) };
        let time = self.check(duration::parse(&text.0))?;
        if time.is_zero() {
            return self.fail(Reason::InvalidSpec, "must be greater than zero");
        }
        Some(time)
    }

    /// The same with an upper bound.
    pub(super) fn duration_at_most(&self, max: Duration, default: Duration) -> Option<Duration> {
        let time = self.duration(default)?;
        if time > max {
            let message = format_args!("{} is longer than {}", duration::format(time), duration::format(max));
            return self.fail(Reason::InvalidSpec, message);
        }
        Some(time)
    }
}

impl Field<'_, Option<Factor>> {
    /// The factor, or its default.
    pub(super) fn factor(&self, default: f64) -> Option<f64> {
        let Some(Factor(text)) = self.value() else { return Some(default) };
        let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match text.parse::<f64>() {
            Ok(factor) if is_decimal && (1.0..=10.0).contains(&factor) => Some(factor),
            _ => {
                let message = "must be from 1 to 10: an integer such as 2, or a text such as \"1.5\"";
                self.fail(Reason::InvalidSpec, message)
            }
        }
    }
}

impl<N: Copy + PartialOrd + fmt::Display> Field<'_, N> {
    /// The number, which must be in the range.
    pub(super) fn within(&self, range: RangeInclusive<N>) -> Option<N> {
        let (number, least, most) = (*self.value(), range.start(), range.end());
        if range.contains(&number) {
            return Some(number);
        }
        self.fail(Reason::InvalidSpec, format_args!("must be between {least} and {most}"))
    }
}

impl<T: AsRef<str> + ?Sized> Field<'_, T> {
    fn text(&self) -> &str {
        self.value().as_ref()
    }

    /// A header name, lower-cased.
    pub(super) fn header_name(&self) -> Option<HeaderName> {
        let name = self.text();
        HeaderName::from_bytes(name.as_bytes()).ok().or_else(|| {
            let message = format!("`{name}` is not a header name; use letters, digits and hyphens (RFC 9110, 5.1)");
            self.fail(Reason::InvalidSpec, message)
        })
    }

    /// The compiled expression; `None` also in a survey.
    pub(super) fn expression(&self, scope: Scope, gives: ExpectedType) -> Option<Arc<Expression>> {
        if self.run().is_survey() {
            return None;
        }
        match Expression::compile(self.text(), scope, gives) {
            Ok(expression) => Some(Arc::new(expression)),
            Err(error) => self.fail(Reason::InvalidExpression, error),
        }
    }

    /// A URL that may be called, as far as this can be checked now.
    pub(super) fn callable_url(&self) -> Option<Url> {
        let url = self.check(Url::parse(self.text()))?;
        match self.options().egress.check_url(&url) {
            Ok(()) => Some(url),
            // Without slashes, `user:password@host` has the user as its scheme.
            Err(ForbiddenUrl::Scheme(_)) if self.text().contains('@') => {
                self.fail(Reason::TargetForbidden, "the scheme is not http or https")
            }
            Err(forbidden) => self.fail(Reason::TargetForbidden, forbidden),
        }
    }
}

impl Field<'_, Vec<String>> {
    /// Globs; an invalid one is a problem at its index.
    pub(super) fn globs(self) -> Vec<Glob> {
        self.items().filter_map(|text| text.check(Glob::parse(text.value()))).collect()
    }
}
