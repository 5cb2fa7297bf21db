//! Callers inside the cluster, known by their ServiceAccount.
//!
//! Whether a token is genuine only the cluster can say (TokenReview); which of the accounts it may belong to is said
//! here.

use super::Refusal;

/// What the API server puts before `<namespace>:<name>` in a ServiceAccount's user name
/// (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#service-account-tokens>).
const USER_PREFIX: &str = "system:serviceaccount:";

/// Which ServiceAccounts may call, and for whom their tokens must have been issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountScheme {
    /// Audiences; a token must have been issued for one of them.
    pub audiences: Vec<Box<str>>,
    /// Namespace and name of each account that may call.
    pub allowed: Vec<(Box<str>, Box<str>)>,
}

impl ServiceAccountScheme {
    /// Whether the user of a reviewed token is one of the accounts. Any user that is not a ServiceAccount is not.
    pub fn allows(&self, username: &str) -> bool {
        let Some((namespace, name)) = username.strip_prefix(USER_PREFIX).and_then(|rest| rest.split_once(':')) else {
            return false;
        };
        self.allowed.iter().any(|(in_namespace, named)| **in_namespace == *namespace && **named == *name)
    }

    /// Lets a caller in whose token the cluster has reviewed for these audiences.
    pub(super) fn verify(&self, username: &str) -> Result<(), Refusal> {
        if self.allows(username) {
            return Ok(());
        }
        Err(Refusal::InvalidSignature("the token belongs to none of the ServiceAccounts that may call here".into()))
    }
}

/// What a caller is told that nobody has reviewed.
pub(super) fn not_reviewed() -> Refusal {
    Refusal::InvalidSignature("the ServiceAccount of the caller has not been reviewed".into())
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    fn scheme() -> ServiceAccountScheme {
        ServiceAccountScheme {
            audiences: vec!["grapnel".into()],
            allowed: vec![("shop".into(), "billing".into()), ("ops".into(), "cron".into())],
        }
    }

    #[test]
    fn only_the_accounts_that_are_named_are_allowed() {
        let scheme = scheme();
        for good in ["system:serviceaccount:shop:billing", "system:serviceaccount:ops:cron"] {
            assert!(scheme.allows(good), "{good}");
        }
        for bad in [
            "",
            "shop:billing",
            "system:serviceaccount:",
            "system:serviceaccount:shop",
            "system:serviceaccount:shop:",
            "system:serviceaccount:shop:cron",
            "system:serviceaccount:shop:billing:",
            "system:serviceaccount:shop:billing ",
            "system:serviceaccount::shop:billing",
            "system:serviceaccounts:shop:billing",
            "x:system:serviceaccount:shop:billing",
            "System:ServiceAccount:shop:billing",
            "billing",
        ] {
            assert!(!scheme.allows(bad), "{bad}");
        }
    }

    #[test]
    fn nobody_is_let_in_without_a_review() {
        let verifier = Verifier::new(Scheme::ServiceAccount(scheme()), Vec::new()).unwrap();
        let mut headers = HeaderMap::new();
        let verify = |headers: &HeaderMap| verifier.verify(headers, Bytes::from_static(b"{}"), Timestamp::UNIX_EPOCH);
        assert!(verify(&headers).is_err());
        headers.insert(header::AUTHORIZATION, "Bearer system:serviceaccount:shop:billing".parse().unwrap());
        assert!(verify(&headers).is_err());
        assert_eq!(verifier.credential_headers().collect::<Vec<_>>(), [&header::AUTHORIZATION]);
        let body = Bytes::from_static(b"{}");
        assert!(verifier.verify_reviewed("system:serviceaccount:shop:billing", body.clone()).is_ok());
        assert!(verifier.verify_reviewed("system:serviceaccount:shop:other", body).is_err());
    }

    #[test]
    fn a_review_lets_nobody_past_another_scheme() {
        let token = TokenScheme { header: header::AUTHORIZATION, scheme: None };
        let verifier = Verifier::new(Scheme::Token(token), vec![Secret::from("hunter2")]).unwrap();
        assert!(verifier.verify_reviewed("system:serviceaccount:shop:billing", Bytes::new()).is_err());
    }
}
