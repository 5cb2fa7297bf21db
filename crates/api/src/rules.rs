//! CEL rules (`x-kubernetes-validations`) of fields that hold one value, instead of patterns and formats.
//!
//! A violated pattern shows a regular expression to the author of a manifest; a rule says in words what to write. API
//! servers know CEL rules since 1.25. On older ones the operator evaluates the same rules and refuses the object in its
//! conditions. The rules use only functions of 1.25, and every text that they read has a maximum length, so that their
//! estimated costs stay within the budget of an API server.

use std::time::Duration;

use grapnel_values::{duration, limits::MAX_DURATION, quantity};
use serde_json::{Value, json};

/// Bytes of each unit of a quantity.
const UNITS: &str = "{'': 1.0, 'k': 1000.0, 'M': 1000000.0, 'G': 1.0e9, 'T': 1.0e12, 'P': 1.0e15, 'E': 1.0e18, \
                     'Ki': 1024.0, 'Mi': 1048576.0, 'Gi': 1073741824.0, 'Ti': 1099511627776.0, \
                     'Pi': 1125899906842624.0, 'Ei': 1152921504606846976.0}";

/// Begins the rules of an integer or text, whose bounds as an integer are `minimum` and `maximum`.
pub(super) const INTEGER_OR: &str = "type(self) == int || ";

/// The syntax of a factor between 1 and 10 that is written as text.
const FACTOR: &str = "^([1-9]([.][0-9]{1,3})?|10([.]0{1,3})?)$";

/// A number of an IPv4 address.
const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";

/// A rule with its message.
pub(super) fn rule(rule: impl Into<String>, message: impl Into<String>) -> Value {
    json!({ "rule": rule.into(), "message": message.into() })
}

/// Rules of a duration that is greater than zero.
pub(super) fn duration() -> Value {
    duration_at_most(MAX_DURATION)
}

/// Rules of a duration that is greater than zero and has a maximum.
pub(super) fn duration_at_most(max: Duration) -> Value {
    let most = duration::format(max);
    let bound = format!(
        "!self.matches('{}') || (duration(self) > duration('0s') && duration(self) <= duration('{most}'))",
        duration::PATTERN
    );
    json!([duration_syntax(), rule(bound, format!("must be greater than zero and at most {most}"))])
}

fn duration_syntax() -> Value {
    let syntax = format!("self.matches('{}')", duration::PATTERN);
    rule(syntax, "must be a duration such as 250ms, 10s or 24h")
}

/// Whether a schema has the rules of a duration.
pub fn is_duration(schema: &Value) -> bool {
    schema.pointer("/x-kubernetes-validations/0") == Some(&duration_syntax())
}

/// Rules of a number of bytes, at least `min` and at most `max`.
pub(super) fn bytes(min: u64, max: Option<u64>) -> Value {
    let bytes = format!("double(self.find('^[0-9.]+')) * {UNITS}[self.find('[a-zA-Z]*$')]");
    let (most, message) = match max {
        Some(max) => (format!(" && {bytes} <= {max}.0"), format!("must be from {} to {}", binary(min), binary(max))),
        None => (String::new(), format!("must be at least {}", binary(min))),
    };
    let bound = format!("{INTEGER_OR}!self.matches('{}') || ({bytes} >= {min}.0{most})", quantity::PATTERN);
    json!([bytes_syntax(), rule(bound, message)])
}

fn bytes_syntax() -> Value {
    let syntax = format!("{INTEGER_OR}self.matches('{}')", quantity::PATTERN);
    rule(syntax, "must be a quantity such as 512Ki or 1Mi")
}

/// A number of bytes in the largest binary unit that divides it.
fn binary(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{}Mi", bytes >> 20),
        bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{}Ki", bytes >> 10),
        bytes => bytes.to_string(),
    }
}

/// Whether a schema has the rules of a number of bytes.
pub fn is_bytes(schema: &Value) -> bool {
    schema.pointer("/x-kubernetes-validations/0") == Some(&bytes_syntax())
}

/// Rules of a factor between 1 and 10.
pub(super) fn factor() -> Value {
    let syntax = format!("{INTEGER_OR}self.matches('{FACTOR}')");
    json!([rule(syntax, "must be from 1 to 10: an integer such as 2, or a text such as \"1.5\"")])
}

/// Rules of an http or https URL without credentials. `instead` says where credentials belong.
pub(super) fn url(instead: &str) -> Value {
    json!([
        rule("self.matches('^[hH][tT][tT][pP][sS]?://')", "must be a URL that begins with http:// or https://"),
        rule(WITHOUT_CREDENTIALS, format!("must not contain a username or password; {instead}")),
    ])
}

/// Rules of a URL below which public keys are fetched: https, except on the machine itself.
pub(super) fn keys_url() -> Value {
    let secure = "self.matches('^[hH][tT][tT][pP][sS]://') || \
                  self.matches('^http://(localhost|127[.][0-9.]+|.::1.)([:/]|$)')";
    json!([
        rule(secure, "must be an https URL, because it is the source of the keys"),
        rule(WITHOUT_CREDENTIALS, "must not contain a username or password"),
    ])
}

/// Only the part before the first slash, question mark or number sign may have credentials.
const WITHOUT_CREDENTIALS: &str = "!self.matches('^[^/?#]*//[^/?#]*@')";

/// Rules of a CIDR or a single address. They know the exact form of IPv4; the compiler also checks IPv6.
pub(super) fn cidr() -> Value {
    let syntax = format!(
        "self.matches('^({OCTET}[.]){{3}}{OCTET}(/(3[0-2]|[12]?[0-9]))?$') || \
         self.matches('^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?$')"
    );
    json!([rule(syntax, "must be a CIDR such as 192.0.2.0/24 or 2001:db8::/32")])
}

/// Rules of a list of headers whose names are unique without regard to case.
pub(super) fn unique_headers() -> Value {
    let unique = "self.all(header, self.exists_one(other, other.name.lowerAscii() == header.name.lowerAscii()))";
    json!([rule(unique, "must not set a header twice; names are compared without regard to case")])
}

/// A rule on the form of a text.
pub(super) fn form(pattern: &str, message: &str) -> Value {
    json!([rule(format!("self.matches('{pattern}')"), message)])
}

/// Rules of the path of an endpoint.
pub(super) fn path() -> Value {
    form(
        "^/?[.]*[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[.]*[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?$",
        "must be one or more segments of letters, digits and -._~, separated by single slashes, none of dots only",
    )
}

/// Rules of a label of DNS, such as the name of a namespace or of a Service.
pub(super) fn dns_label() -> Value {
    form("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "must be lowercase letters, digits and hyphens (RFC 1123)")
}

/// Rules of a subdomain of DNS, such as the name of a ServiceAccount.
pub(super) fn dns_subdomain() -> Value {
    form("^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", "must be lowercase letters, digits, hyphens and dots (RFC 1123)")
}

/// Rules of a host name whose first label may be a wildcard.
pub(super) fn hostname() -> Value {
    let label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
    form(
        &format!("^([*][.])?{label}([.]{label})*$"),
        "must be a host name in lowercase such as hooks.example.com or *.example.com",
    )
}

/// Rules of an API group; the core group is the empty text.
pub(super) fn api_group() -> Value {
    form("^([a-z0-9]([-.a-z0-9]*[a-z0-9])?)?$", "must be an API group such as gateway.networking.k8s.io")
}

/// Rules of a kind of the API.
pub(super) fn kind() -> Value {
    form("^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$", "must be a kind such as Gateway")
}

/// Rules of the ARN of a topic of Amazon SNS.
pub(super) fn sns_topic() -> Value {
    form(
        "^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$",
        "must be the ARN of a standard topic such as arn:aws:sns:eu-central-1:123456789012:orders",
    )
}

/// Rules of a JSON Pointer (RFC 6901).
pub(super) fn pointer() -> Value {
    form("^(/.*)?$", "must be empty or begin with a slash (RFC 6901)")
}

/// Rules of the path of a request, with a query if there is one.
pub(super) fn request_path() -> Value {
    form("^/[^# \\t\\r\\n]*$", "must begin with a slash and contain neither # nor spaces")
}

/// Rules of an identifier of letters and digits.
pub(super) fn alphanumeric() -> Value {
    form("^[a-zA-Z0-9]+$", "must be letters and digits")
}

/// The rule that the duration `low` is no longer than the duration `high`. The API server sets defaults, so a field that
/// has its default counts as not set, and adapts to the other one.
pub(super) fn ascending(low: &str, high: &str, defaults: &[(&str, Duration)]) -> String {
    let absent = [low, high].map(|field| format!("!has(self.{field})"));
    let default = defaults.iter().map(|(field, value)| format!("self.{field} == '{}'", duration::format(*value)));
    // Each field has a rule of its own for its syntax.
    let malformed = [low, high].map(|field| format!("!self.{field}.matches('{}')", duration::PATTERN));
    let ascending = format!("duration(self.{low}) <= duration(self.{high})");
    absent.into_iter().chain(default).chain(malformed).chain([ascending]).collect::<Vec<_>>().join(" || ")
}

/// The rule that none of these fields of a spec is changed, added or removed.
pub(super) fn unchanged(fields: &[&str]) -> String {
    let unchanged = |field: &&str| {
        format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})")
    };
    fields.iter().map(unchanged).collect::<Vec<_>>().join(" && ")
}
