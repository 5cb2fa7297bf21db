//! Bearer tokens of requests (RFC 6750).

use axum::http::{HeaderMap, header};

/// The single bearer token of a request; the scheme's name is case-insensitive (RFC 9110, section 11.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        bearer(&headers).map(<[u8]>::to_vec)
    }

    #[test]
    fn a_bearer_token_is_one_header_of_one_scheme() {
        assert_eq!(of(&["bearer abc"]), Some(b"abc".to_vec()));
        assert_eq!(of(&["Basic abc"]), None);
        assert_eq!(of(&["Bearer"]), None);
        assert_eq!(of(&["Bearer a", "Bearer b"]), None);
    }
}
