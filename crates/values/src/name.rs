//! Kubernetes names (RFC 1123): lower-case letters, digits and hyphens, with dots between labels.
//!
//! ```
//! use grapnel_values::name;
//!
//! assert!(name::is_label("shop-1") && !name::is_label("Shop"));
//! assert!(name::is_subdomain("hooks.shop-1"));
//! ```

use super::limits::{NAME_CHARS, NAMESPACE_CHARS};

/// Returns whether the text is a DNS label, such as the name of a namespace or Service.
pub fn is_label(text: &str) -> bool {
    text.len() <= NAMESPACE_CHARS
        && !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Returns whether the text is a DNS subdomain, as most object names are. A label may be as long as the whole name.
pub fn is_subdomain(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.len() <= NAME_CHARS && text.split('.').all(is_part)
}

/// Returns whether the text can be a cluster domain: the part after `svc.` in the DNS names of Services.
pub fn is_domain(text: &str) -> bool {
    text.len() <= NAME_CHARS && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_subdomains_and_domains() {
        for label in ["a", "a-1", "0", &"x".repeat(63)] {
            assert!(is_label(label) && is_subdomain(label) && is_domain(label), "{label}");
        }
        for none in ["", "-a", "a-", "A", "a_b", "a b", "ä", "a/b", "a@b"] {
            assert!(!is_label(none) && !is_subdomain(none) && !is_domain(none), "{none}");
        }
        assert!(is_subdomain("a.b-c.d") && is_domain("cluster.local") && !is_label("a.b"));
        assert!(!is_subdomain("a..b") && !is_subdomain(".a") && !is_domain("a."));
        assert!(!is_label(&"x".repeat(64)) && is_subdomain(&"x".repeat(64)) && !is_domain(&"x".repeat(64)));
        assert!(!is_subdomain(&"x".repeat(254)));
    }
}
